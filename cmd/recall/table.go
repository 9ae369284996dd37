package main

import (
	"io"
	"strings"
	"unicode"

	"github.com/charmbracelet/x/ansi"
)

// table writes rows in columns, as wide as the terminal at most. Widths are those
// of the first rows: what comes later is cut to them, so a long list can be
// written as it comes.
type table struct {
	out    io.Writer
	width  int // of the terminal; 0: nothing is cut
	header []string
	rows   [][]string
	widths []int // set with the first block
}

// tableBlock is how many rows are looked at for the widths.
const tableBlock = 500

// columnGap is between two columns.
const columnGap = "  "

// narrowest is what a column is not cut below.
const narrowest = 6

func (c *console) table(header ...string) *table {
	return &table{out: c.out, width: c.width, header: header}
}

func (t *table) row(cells ...string) error {
	for i := range cells {
		cells[i] = printable(cells[i])
	}
	t.rows = append(t.rows, cells)
	if len(t.rows) < tableBlock {
		return nil
	}
	return t.flush()
}

// flush writes the rows that are there.
func (t *table) flush() error {
	if t.widths == nil {
		t.measure()
		t.rows = append([][]string{t.header}, t.rows...)
	}
	var text strings.Builder
	for _, row := range t.rows {
		t.write(&text, row)
	}
	t.rows = nil
	_, err := io.WriteString(t.out, text.String())
	return err
}

func (t *table) write(text *strings.Builder, row []string) {
	var line strings.Builder
	for i, cell := range row {
		if t.width > 0 {
			cell = ansi.Truncate(cell, t.widths[i], "…")
		}
		line.WriteString(cell)
		if i < len(row)-1 {
			line.WriteString(strings.Repeat(" ", max(0, t.widths[i]-ansi.StringWidth(cell))) + columnGap)
		}
	}
	text.WriteString(strings.TrimRight(line.String(), " ") + "\n")
}

// measure gives each column what it needs, and takes from the widest as long as
// all together are too wide. The first, which names what the row is about, is cut
// last: a part of an id is of no use.
func (t *table) measure() {
	t.widths = make([]int, len(t.header))
	for _, row := range append([][]string{t.header}, t.rows...) {
		for i, cell := range row {
			t.widths[i] = max(t.widths[i], ansi.StringWidth(cell))
		}
	}
	room := t.width - len(columnGap)*(len(t.header)-1)
	for t.width > 0 {
		total, widest := 0, 0
		for i, w := range t.widths {
			total += w
			if i > 0 && w > narrowest && (widest == 0 || w > t.widths[widest]) {
				widest = i
			}
		}
		if total <= room || t.widths[widest] <= narrowest {
			return
		}
		t.widths[widest]--
	}
}

// printable takes the teeth out of what strangers have written: no control
// character reaches the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
