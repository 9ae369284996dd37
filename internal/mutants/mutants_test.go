package mutants_test

import (
	"testing"

	"github.com/recallmq/recall/internal/mutanttest"
)

const root = "../.."

func TestMutantsApply(t *testing.T) { mutanttest.Apply(t, root, all) }

func TestMutantsDie(t *testing.T) { mutanttest.Die(t, root, all) }
