package main

import (
	"path/filepath"
	"strings"

	"github.com/recallmq/recall/qstash"
)

// devUsers are those of a local QStash: the public ones, of which the first has
// the file and the others have files beside it, or one with a token of their
// own. A server that has a token to keep others out has no public users.
func devUsers(token, file string) (list []*user) {
	all := qstash.DevUsers()
	if token != "" && token != qstash.DevToken {
		all[0].Token = token
		all = all[:1]
	}
	for i, d := range all {
		u := &user{
			name: d.Name, file: file, tokens: []string{d.Token},
			keys: qstash.NewKeys(d.CurrentSigningKey, d.NextSigningKey),
		}
		if i > 0 {
			u.file = fileBeside(file, d.Name)
		}
		list = append(list, u)
	}
	return list
}

// fileBeside is q-name.db for q.db.
func fileBeside(file, name string) string {
	ext := filepath.Ext(file)
	return strings.TrimSuffix(file, ext) + "-" + name + ext
}
