package recall

// texts copies strings into bytes, those of all messages of a publish into one
// buffer. Where it has to grow, what was cut from it before stays in the old one.
type texts struct {
	buf  []byte
	list [][]byte
}

func (t *texts) bytes(s string) []byte {
	from := len(t.buf)
	t.buf = append(t.buf, s...)
	return t.buf[from:len(t.buf):len(t.buf)]
}

func (t *texts) lists(in []string) [][]byte {
	if len(in) == 0 {
		return nil
	}
	from := len(t.list)
	for _, s := range in {
		t.list = append(t.list, t.bytes(s))
	}
	return t.list[from:len(t.list):len(t.list)]
}

// reset gives the room to the next ones: nobody may look at the last ones now.
func (t *texts) reset() {
	clear(t.list)
	t.buf, t.list = t.buf[:0], t.list[:0]
}
