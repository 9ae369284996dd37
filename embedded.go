package recall

func openEmbedded(path string, o *Options) (Engine, error) { panic("stub") }
