package bench

import (
	"context"
	"runtime"
)

// Machine describes the machine of a run.
type Machine struct {
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	Cores  int    `json:"cores"`  // processors that this process may use
	Kernel string `json:"kernel"` // "" if the system does not tell
	Go     string `json:"go"`
	Python string `json:"python,omitempty"`
}

func thisMachine(ctx context.Context) Machine {
	return Machine{
		OS:     runtime.GOOS,
		Arch:   runtime.GOARCH,
		Cores:  runtime.NumCPU(),
		Kernel: kernel(),
		Go:     runtime.Version(),
		Python: pythonVersion(ctx),
	}
}
