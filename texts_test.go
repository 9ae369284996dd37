package recall

import (
	"strconv"
	"testing"
)

// TestTexts: what was cut stays as it was while the buffers grow, and appending
// to it reaches nothing else.
func TestTexts(t *testing.T) {
	var all texts
	for range 2 { // the second time within the room of the first
		all.reset()
		var words [][]byte
		var lists [][][]byte
		for i := range 1000 {
			words = append(words, all.bytes(strconv.Itoa(i)))
			lists = append(lists, all.lists([]string{"a" + strconv.Itoa(i), "b"}))
		}
		for i := range words {
			_ = append(words[i], "more"...)
			_ = append(lists[i], nil)
		}
		for i, l := range lists {
			if string(words[i]) != strconv.Itoa(i) || len(l) != 2 || string(l[0]) != "a"+strconv.Itoa(i) || string(l[1]) != "b" {
				t.Fatalf("%d became %s and %s", i, words[i], l)
			}
		}
	}
}
