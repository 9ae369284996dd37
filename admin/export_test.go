package admin

import "encoding/json"

// WriteCalls are the names of the calls that need full access, ReadCalls those of the
// others.
func WriteCalls() []string { return callNames(false) }
func ReadCalls() []string  { return callNames(true) }

func callNames(reads bool) (names []string) {
	for name, c := range calls {
		if c.reads == reads {
			names = append(names, name)
		}
	}
	return names
}

// OverTheWire writes an error as an answer has it, and reads it as a client does.
func OverTheWire(err error) error {
	text, fault := json.Marshal(wired(err))
	if fault != nil {
		return fault
	}
	var w wireError
	if fault := json.Unmarshal(text, &w); fault != nil {
		return fault
	}
	return w.err()
}

// Codes are those that an error can have.
func Codes() []string {
	var list []string
	for _, c := range codes {
		list = append(list, c.code)
	}
	return list
}

// CodeOf is the code of an error.
func CodeOf(err error) string { return wired(err).Code }

// DecodeCancel reads the request that can do most.
func DecodeCancel(data []byte) (request any, isAll bool, err error) {
	q := &cancel{}
	err = decode(data, q)
	return *q, q.All, err
}
