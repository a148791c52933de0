package sys

// What a filesystem must lack before these are called.
var (
	Fill    = fill
	Publish = publish
)
