package store

import (
	"encoding/binary"
	"math"
)

// MaxRecord is the longest record row in bytes: with its key it fits a page.
// Rows that need contiguous pages make a file grow without bound.
const MaxRecord = maxRow

// maxRow leaves room for a page's header and a row's own on a page of 4 KiB.
const maxRow = 3900

// Record is the hot row of a message: what is read to index and to claim it.
// The byte slices of a decoded Record are views of its row.
type Record struct {
	ID        [16]byte // ULID
	Wall      int64    // ms: when it was published, by the publisher's clock
	Due       int64    // ms: the first attempt
	TimeoutMs int64    // of an attempt; 0: the default
	Retries   uint32   // attempts after the first
	Priority  int8

	Method, URL, Topic, Queue, Schedule, CallerIP, FlowKey []byte
	Blocks                                                 []byte // the queue that waits until this message is gone
	// Foreign: ID is one that the message had before it was imported, and says nothing
	// about Created, ms, which SealForeign fills in.
	Foreign bool
	Created int64
	Labels  [][]byte

	// Of dead letters only.
	Died     int64 // ms
	Attempts uint32
	Status   uint16 // of the last response; 0: none
	Reason   []byte
}

const (
	recordCodec  = 1
	recordPrefix = 1 + 16 // codec version, id
)

// Tags of the fields of a record. A tag is never given another meaning.
const (
	tagWall = iota + 1
	tagDue
	tagTimeout
	tagRetries
	tagPriority
	tagMethod
	tagURL
	tagTopic
	tagQueue
	tagSchedule
	tagCallerIP
	tagFlowKey
	tagLabel
	tagDied
	tagAttempts
	tagStatus
	tagReason
	tagBlocks  // from version 4 on
	tagCreated // from version 5 on: eight bytes, the first field of what was imported
)

// foreignField is the length of the field with tagCreated: tag, length and time.
const foreignField = 1 + 1 + 8

// AppendRecord appends the row of r, without id and checksum: SealRecord fills
// them in once the number of the message is known.
func AppendRecord(dst []byte, r *Record) []byte {
	dst = append(dst, recordCodec)
	dst = append(dst, make([]byte, 16)...)
	if r.Foreign {
		dst = appendTagBytes(dst, tagCreated, binary.BigEndian.AppendUint64(nil, uint64(r.Created)))
	}
	dst = appendTagInt(dst, tagWall, r.Wall)
	dst = appendTagInt(dst, tagDue, r.Due)
	dst = appendTagInt(dst, tagTimeout, r.TimeoutMs)
	dst = appendTagUint(dst, tagRetries, uint64(r.Retries))
	dst = appendTagInt(dst, tagPriority, int64(r.Priority))
	dst = appendTagBytes(dst, tagMethod, r.Method)
	dst = appendTagBytes(dst, tagURL, r.URL)
	dst = appendTagBytes(dst, tagTopic, r.Topic)
	dst = appendTagBytes(dst, tagQueue, r.Queue)
	dst = appendTagBytes(dst, tagSchedule, r.Schedule)
	dst = appendTagBytes(dst, tagCallerIP, r.CallerIP)
	dst = appendTagBytes(dst, tagFlowKey, r.FlowKey)
	for _, l := range r.Labels {
		dst = appendTagBytes(dst, tagLabel, l)
	}
	dst = appendTagBytes(dst, tagBlocks, r.Blocks)
	dst = appendTagInt(dst, tagDied, r.Died)
	dst = appendTagUint(dst, tagAttempts, uint64(r.Attempts))
	dst = appendTagUint(dst, tagStatus, uint64(r.Status))
	dst = appendTagBytes(dst, tagReason, r.Reason)
	return append(dst, 0, 0, 0, 0)
}

// SealRecord writes the id and the checksum into a row that AppendRecord made.
func SealRecord(row []byte, seq uint64, id [16]byte) {
	copy(row[1:], id[:])
	body := row[:len(row)-crcSize]
	binary.LittleEndian.PutUint32(row[len(body):], checksum(seq, body))
}

// SealForeign is SealRecord for the row of a message that keeps an id which it had
// before. Only files of version 5 have such rows, see [Tx.PutForeign].
func SealForeign(row []byte, seq uint64, id [16]byte, created int64) {
	binary.BigEndian.PutUint64(row[recordPrefix+2:recordPrefix+foreignField], uint64(created))
	SealRecord(row, seq, id)
}

// DecodeRecord takes the row of message seq apart. It allocates nothing but
// Labels, which it reuses, and never panics.
func DecodeRecord(seq uint64, row []byte, r *Record) error {
	body, err := checkSum(seq, row)
	if err != nil {
		return err
	}
	if len(body) < recordPrefix {
		return errShort
	}
	if body[0] != recordCodec {
		return errCodec
	}
	*r = Record{Labels: r.Labels[:0], ID: [16]byte(body[1:recordPrefix])}
	in := reader{row: body[recordPrefix:]}
	for in.more() {
		r.field(&in)
	}
	return in.err
}

func (r *Record) field(in *reader) {
	switch tag := in.byte(); tag {
	case tagWall:
		r.Wall = in.int()
	case tagDue:
		r.Due = in.int()
	case tagTimeout:
		r.TimeoutMs = in.int()
	case tagRetries:
		r.Retries = uint32(min(in.uint(), math.MaxUint32))
	case tagPriority:
		r.Priority = int8(in.int())
	case tagMethod:
		r.Method = in.bytes()
	case tagURL:
		r.URL = in.bytes()
	case tagTopic:
		r.Topic = in.bytes()
	case tagQueue:
		r.Queue = in.bytes()
	case tagSchedule:
		r.Schedule = in.bytes()
	case tagCallerIP:
		r.CallerIP = in.bytes()
	case tagFlowKey:
		r.FlowKey = in.bytes()
	case tagLabel:
		r.Labels = append(r.Labels, in.bytes())
	case tagBlocks:
		r.Blocks = in.bytes()
	case tagCreated:
		if b := in.bytes(); len(b) == 8 {
			r.Foreign, r.Created = true, int64(binary.BigEndian.Uint64(b))
		} else {
			in.fail(errShort)
		}
	case tagDied:
		r.Died = in.int()
	case tagAttempts:
		r.Attempts = uint32(min(in.uint(), math.MaxUint32))
	case tagStatus:
		r.Status = uint16(min(in.uint(), math.MaxUint16))
	case tagReason:
		r.Reason = in.bytes()
	default:
		in.fail(errTag(tag))
	}
}
