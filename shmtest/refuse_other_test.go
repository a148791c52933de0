//go:build !linux

package shmtest_test

import "errors"

func refusePtrace() error { return errors.ErrUnsupported }
