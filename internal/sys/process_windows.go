package sys

import (
	"fmt"
	"sync"

	"golang.org/x/sys/windows/registry"
)

// BootID returns a text that tells this boot of the system from others, or "" if the
// system does not say. The first call reads the registry.
func BootID() string { return bootID() }

var bootID = sync.OnceValue(func() string {
	const path = `SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters`
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, path, registry.QUERY_VALUE)
	if err != nil {
		return ""
	}
	defer k.Close()
	n, _, err := k.GetIntegerValue("BootId") // a number that grows with each boot
	if err != nil {
		return ""
	}
	return fmt.Sprint("windows-", n)
})

// PidNamespace returns 1: all processes have ids of one kind.
func PidNamespace() uint64 { return 1 }
