package store

// Body is the cold row of a message: what only an attempt needs. The byte
// slices of a decoded Body are views of its row.
type Body struct {
	Header     []Field
	Payload    []byte
	RetryDelay []byte  // expression; empty: none
	More       []Field // what few messages have, by name
	// Of dead letters only: the last response.
	ResponseHeader []Field
	ResponseBody   []byte
}

// Field is one line of a header.
type Field struct{ Name, Value []byte }

const bodyCodec = 1

// Tags of the fields of a body. A tag is never given another meaning.
const (
	tagHeader = iota + 1
	tagPayload
	tagResponseHeader
	tagResponseBody
	tagRetryDelay // from version 3 on
	tagMore       // from version 4 on
)

// bodySeq stands in for the number in a body's checksum: a body is encoded
// before its number is known.
const bodySeq = 0

// AppendBody appends the row of b.
func AppendBody(dst []byte, b *Body) []byte {
	start := len(dst)
	dst = append(dst, bodyCodec)
	dst = appendFields(dst, tagHeader, b.Header)
	dst = appendTagBytes(dst, tagPayload, b.Payload)
	dst = appendFields(dst, tagResponseHeader, b.ResponseHeader)
	dst = appendTagBytes(dst, tagResponseBody, b.ResponseBody)
	dst = appendTagBytes(dst, tagRetryDelay, b.RetryDelay)
	dst = appendFields(dst, tagMore, b.More)
	return appendSum(dst, start, bodySeq)
}

func appendFields(dst []byte, tag byte, fields []Field) []byte {
	for _, f := range fields {
		dst = appendBytes(append(dst, tag), f.Name)
		dst = appendBytes(dst, f.Value)
	}
	return dst
}

// DecodeBody takes a body row apart. It allocates nothing but the header
// slices, which it reuses, and never panics.
func DecodeBody(row []byte, b *Body) error {
	body, err := checkSum(bodySeq, row)
	if err != nil {
		return err
	}
	if len(body) == 0 || body[0] != bodyCodec {
		return errCodec
	}
	*b = Body{Header: b.Header[:0], ResponseHeader: b.ResponseHeader[:0], More: b.More[:0]}
	in := reader{row: body[1:]}
	for in.more() {
		switch tag := in.byte(); tag {
		case tagHeader:
			b.Header = append(b.Header, Field{in.bytes(), in.bytes()})
		case tagPayload:
			b.Payload = in.bytes()
		case tagResponseHeader:
			b.ResponseHeader = append(b.ResponseHeader, Field{in.bytes(), in.bytes()})
		case tagResponseBody:
			b.ResponseBody = in.bytes()
		case tagRetryDelay:
			b.RetryDelay = in.bytes()
		case tagMore:
			b.More = append(b.More, Field{in.bytes(), in.bytes()})
		default:
			in.fail(errTag(tag))
		}
	}
	return in.err
}
