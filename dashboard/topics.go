package dashboard

import "github.com/recallmq/recall"

func topicsPage(v *visit) error {
	list, err := v.site.broker.Topics(v.r.Context())
	if err != nil && len(list) == 0 {
		return err
	}
	data := struct {
		List    []recall.Topic
		Problem string
	}{List: list}
	if err != nil {
		_, data.Problem = explain(err)
	}
	return v.show("topics", "URL groups", data)
}
