package store

import (
	"bytes"
	"encoding/binary"
	"errors"

	bolt "go.etcd.io/bbolt"
)

// Objects are the small things beside messages: queues, topics, schedules and
// the like. An object has a kind, a name, and a value that only the caller
// understands, of any size: it is cut into rows that fit a page, and written as a
// whole. The bucket is made when it is first used.

// MaxObjectName is the longest name of an object, in bytes.
const MaxObjectName = 1024

var errObjectPart = errors.New("a part of an object is missing")

// objectKey is the kind, the name, a zero byte, which no name has, and the number
// of the part.
func objectKey(kind byte, name string, part uint16) []byte {
	k := append([]byte{kind}, name...)
	return binary.BigEndian.AppendUint16(append(k, 0), part)
}

const objectKeyEnd = 3 // bytes behind the name

// PutObject sets the value of an object.
func (t *Tx) PutObject(kind byte, name string, value []byte) error {
	if len(name) > MaxObjectName || bytes.IndexByte([]byte(name), 0) >= 0 {
		return errors.New("a name that an object cannot have")
	}
	return t.guard(func() error {
		b, err := t.tx.CreateBucketIfNotExists(bucketObject)
		if err != nil {
			return err
		}
		if err := deleteKeys(b, objectKeys(b, kind, name)); err != nil {
			return err
		}
		const most = maxRow - MaxObjectName - crcSize
		for part := uint16(0); ; part++ {
			n := min(len(value), most)
			key := objectKey(kind, name, part)
			row := append(make([]byte, 0, n+crcSize), value[:n]...)
			if err := b.Put(key, appendSum(row, 0, keySum(key))); err != nil {
				return err
			}
			if value = value[n:]; len(value) == 0 {
				return nil
			}
		}
	})
}

// DeleteObject removes an object, if it is there.
func (t *Tx) DeleteObject(kind byte, name string) error {
	return t.guard(func() error {
		b := t.tx.Bucket(bucketObject)
		if b == nil {
			return nil
		}
		return deleteKeys(b, objectKeys(b, kind, name))
	})
}

func objectKeys(b *bolt.Bucket, kind byte, name string) (keys [][]byte) {
	first := objectKey(kind, name, 0)
	prefix := first[:len(first)-2]
	c := b.Cursor()
	for k, _ := c.Seek(first); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	return keys
}

// object is one while its rows are read.
type object struct {
	kind  byte
	name  string
	value []byte
	parts int
}

// eachObject visits all objects by kind and name. The value is the caller's.
func eachObject(tx *bolt.Tx, visit func(kind byte, name string, value []byte) error) error {
	b := tx.Bucket(bucketObject)
	if b == nil {
		return nil
	}
	var o object
	c := b.Cursor()
	for k, row := c.First(); k != nil; k, row = c.Next() {
		kind, name, part, err := splitObjectKey(k)
		if err != nil {
			return corrupt("object", k, err)
		}
		body, err := checkSum(keySum(k), row)
		if err != nil {
			return corrupt("object", k, err)
		}
		if same := o.parts > 0 && kind == o.kind && name == o.name; !same {
			if err := o.visit(visit); err != nil {
				return err
			}
			o = object{kind: kind, name: name}
		}
		if int(part) != o.parts {
			return corrupt("object", k, errObjectPart)
		}
		o.value = append(o.value, body...)
		o.parts++
	}
	return o.visit(visit)
}

func (o *object) visit(visit func(kind byte, name string, value []byte) error) error {
	if o.parts == 0 {
		return nil
	}
	return corrupt("object", objectKey(o.kind, o.name, 0), visit(o.kind, o.name, o.value))
}

func splitObjectKey(k []byte) (kind byte, name string, part uint16, err error) {
	end := len(k) - objectKeyEnd
	if end < 1 || k[end] != 0 {
		return 0, "", 0, errShort
	}
	return k[0], string(k[1:end]), binary.BigEndian.Uint16(k[end+1:]), nil
}
