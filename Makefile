# What a contributor runs. `make` alone lists the targets; .ci/run runs them.
# CONTRIBUTING.md says what each of them proves.

GO ?= go

# How long each fuzz target runs: a number of inputs (30000x) or a time (1m).
FUZZTIME ?= 30000x
# How long each storm runs. A storm kills processes at random for that time.
STORM ?= 20s
# Which interpreters run the tests in Python: few as in go test, the newest, or all.
PYTHONS ?= all

# The library with its tests, without the commands and the examples.
LIBRARY := . ./internal/... ./test/...
# The systems for which `make vet` type-checks everything, beside this one, and the processors
# for which it type-checks the library: the commands and the examples have no code for one, and
# take most of the time.
SYSTEMS := linux/386 darwin/arm64 windows/amd64 freebsd/amd64
PROCESSORS := arm arm64 s390x loong64
# Those for which it links the tool and the tests, and those for which it only compiles the
# package: BSDs, where it can make no segment, and processors that the tests run on (.ci/processors).
LINKED := darwin/arm64 darwin/amd64 freebsd/amd64
COMPILED := openbsd/amd64 netbsd/amd64 linux/ppc64le linux/riscv64
# What differs between systems, for staticcheck: all of it takes minutes for each system.
SYSTEMCODE := ./internal/sys/... ./internal/mem/... ./cmd/shm/...
# What runs over the portable backend: all tests of the library in short mode, and short
# storms. A test of what only Linux does skips itself, with the reason. Left out: test/interop
# (C and Python keep locks on the segment's own bytes, and refuse such segments), test/docs
# (it reads sources), and of test/crash the tests that wait for shares of processor time or
# kill hundreds of processes one by one.
PORTABLE := . ./internal/... ./shmtest ./shmprom ./test/agent ./test/surroundings
PORTABLESTORMS := -storm 4s -run 'Storm|Takeover|KilledHolderWithManyWaiters|Abandoned|Reservation|Stopped|Signals|Gauge|Boot'
# What runs under the race detector. Left out: test/interop (most of what it starts is in C and
# Python), test/docs (it reads sources), test/scale (it measures).
RACE := . ./internal/... ./shmtest ./shmprom ./test/agent ./test/crash/... ./test/surroundings ./cmd/... ./examples/...
# The directories of modules of their own: ./... leaves them out.
MODULES := cmd/shm-mirror bench
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# $(call having,PATTERN) is the packages that have a test whose declaration
# matches. No such test is an error: a target that tests nothing must not pass.
having = $(or $(sort $(dir $(shell grep -rlE --include='*_test.go' $(addprefix --exclude-dir=,$(notdir $(MODULES))) '^func $(1)' .))),$(error no test matches '$(1)'))

.DEFAULT_GOAL := help
.PHONY: help test short race fuzz kill storm model mutations portable processors windows vet c docs bench benchc clean modules pythons guard league curves

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## run all tests, as a user of the library does
	$(GO) test ./...

short: ## run all tests but those that take long
	$(GO) test -short ./...

race: ## run the tests of what is in Go under the race detector
	$(GO) test -race -timeout 30m $(RACE)

fuzz: ## run each fuzz target for FUZZTIME
	@set -e; for package in $(call having,Fuzz); do \
		names=$$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); \
		for name in $$names; do \
			echo "$(GO) test -run '^$$' -fuzz '^$$name$$' -fuzztime $(FUZZTIME) $$package"; \
			$(GO) test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$package; \
		done; \
	done

kill: ## kill a process behind every store to shared memory
	$(GO) test -count=1 -tags killpoints -run KillPoint $(call having,Test.*KillPoint)

storm: ## kill processes at random, each storm for STORM
	$(GO) test $(call having,Test.*Storm) -count=1 -v -run 'Storm|Kill' -storm $(STORM)

model: ## search the models of the protocols (needs spin and gcc)
	docs/model/check

mutations: ## leave out one rule of a protocol at a time: its model has to fail (needs spin and gcc)
	docs/model/mutations

portable: ## run the tests over the backend for other Unix systems, on this one
	$(GO) test -tags shmportable -short -count=1 $(PORTABLE)
	$(GO) test -tags shmportable -short -count=1 ./test/crash $(PORTABLESTORMS)

processors: ## run tests as code of other processors (needs qemu-user)
	.ci/processors

windows: ## run tests for Windows under wine (needs wine and gcc-mingw-w64)
	.ci/windows

vet: ## run gofmt, go vet here and for other systems, and staticcheck
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "run gofmt -w on: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags killpoints $(LIBRARY)
	$(GO) vet -tags shmportable $(LIBRARY)
	@set -e; for system in $(SYSTEMS); do \
		echo "GOOS=$${system%/*} GOARCH=$${system#*/} $(GO) vet ./..."; \
		GOOS=$${system%/*} GOARCH=$${system#*/} $(GO) vet ./...; \
	done
	@set -e; for processor in $(PROCESSORS); do \
		echo "GOARCH=$$processor $(GO) vet $(LIBRARY)"; GOOS=linux GOARCH=$$processor $(GO) vet $(LIBRARY); \
	done
	@set -e; for system in $(LINKED); do \
		echo "GOOS=$${system%/*} GOARCH=$${system#*/} link the tool and the tests"; \
		GOOS=$${system%/*} GOARCH=$${system#*/} $(GO) build -o /dev/null ./cmd/shm; \
		GOOS=$${system%/*} GOARCH=$${system#*/} $(GO) test -c -o /dev/null .; \
	done
	@set -e; for system in $(COMPILED); do \
		echo "GOOS=$${system%/*} GOARCH=$${system#*/} $(GO) build ."; \
		GOOS=$${system%/*} GOARCH=$${system#*/} $(GO) build .; \
	done
	@# On mips Go's 64-bit atomics are locks in the memory of one process.
	@if GOOS=linux GOARCH=mips $(GO) build . 2>/dev/null; then \
		echo 'linux/mips must not build: its 64-bit atomics do not work between processes'; exit 1; \
	fi
	$(GO) run $(STATICCHECK) ./...
	@# It runs on this system, and looks at the code of the others.
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; set -e; GOBIN=$$dir $(GO) install $(STATICCHECK); \
	for system in windows darwin; do \
		echo "GOOS=$$system staticcheck $(SYSTEMCODE)"; \
		GOOS=$$system GOARCH=amd64 $$dir/staticcheck $(SYSTEMCODE); \
	done

pythons: ## run the tests in Python by all interpreters on the search path, or by PYTHONS=newest, with and without the verbs in C
	$(GO) test ./test/interop -count=1 -timeout 40m -run '^TestPython$$' -v -args -pythons $(PYTHONS)

modules: ## vet and test the modules of their own: the mirror, and a short league
	@set -e; for module in $(MODULES); do \
		echo "$$module: go vet, staticcheck, go test"; \
		(cd $$module && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./... && $(GO) test ./...); \
	done

c: ## check c/shm.h: compilers, 32-bit code, clang's analyser, sanitizers
	.ci/c

docs: ## check the documents against the code
	$(GO) test -count=1 ./test/docs

bench: ## measure this library beside its rivals, and write the ratios
	$(GO) run ./internal/ratios

guard: ## fail if a fast path became slower against its rival than internal/ratios/guard.json records
	$(GO) run ./internal/ratios -guard internal/ratios/guard.json

league: ## measure the rivals that this machine has in one run, and write docs/LEAGUE.md
	cd bench && $(GO) run . -write ../docs

curves: ## measure how the library grows, and write docs/SCALING.md
	cd bench && $(GO) run . curves -write ../docs

benchc: ## measure c/shm.h beside pthread's robust mutex, and with 1,000,000 values
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; $(or $(CC),gcc) -O2 -pthread -o "$$dir/bench" c/bench.c && "$$dir/bench"

clean: ## remove what builds and tests leave behind (what git ignores)
	git clean -fdXq
