package format

// A process that may only read cannot set Awaited. It asks another one to do that, by a
// read lock on a byte that stands for the change word.

// A cell is at most this many lines behind the start of its record, or nobody can ask
// for it.
const askLines = 1 << 21

// AskByte returns the byte that stands for the change word of the lock cell at an offset,
// in the record that starts at an offset. Both are 0 for Header.Names. ok is false if no
// byte stands for it. Two words never have bytes beside each other, because the system
// makes one lock of two that touch.
func AskByte(record, cell int64) (off int64, ok bool) {
	lines := (cell - record) / Line
	if lines < 0 || lines >= askLines {
		return 0, false
	}
	return AskBase + record/Line*(2*askLines) + 2*lines, true
}

// AskedCell returns what AskByte was called with. ok is false for a byte that AskByte
// does not return. There need not be such a record, or such a cell.
func AskedCell(off int64) (record, cell int64, ok bool) {
	off -= AskBase
	if off < 0 || off >= AskBytes || off%2 != 0 {
		return 0, 0, false
	}
	record = off / (2 * askLines) * Line
	return record, record + off%(2*askLines)/2*Line, true
}
