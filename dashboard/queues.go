package dashboard

func queuesPage(v *visit) error {
	list, err := v.site.broker.Queues(v.r.Context())
	if err != nil {
		return err
	}
	return v.show("queues", "Queues", list)
}

func changeQueue(v *visit) error {
	return v.pauseOrResume("queues", v.site.broker.PauseQueue, v.site.broker.ResumeQueue)
}
