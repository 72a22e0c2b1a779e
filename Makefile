# martlet: build, test, measure. `make help` lists the targets; each installs with apt what it lacks, and says so.

SWIFT ?= swift
# Extra arguments for every `swift build`, such as --scratch-path.
SWIFT_FLAGS ?=
VM_KERNELS ?= 6.1 7.3
FUZZ_SECONDS ?= 60

BUILD := .build
MARTLET := $(BUILD)/martlet
LINKED := $(CURDIR)/$(BUILD)/martlet-linked
# Root for loading kernel programs; PATH is kept for the toolchain, which sudo would not find.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo env "PATH=$$PATH" "SWIFT_FLAGS=$(SWIFT_FLAGS)")
export SWIFT SWIFT_FLAGS

# The one-file binary: everything comes from archives, glibc too. Package.swift has the rest.
RELEASE_FLAGS := -c release --static-swift-stdlib --disable-local-rpath $(SWIFT_FLAGS)

.PHONY: help build release relink-kit test-release demo test unit-test kernel-test vm-test e2e fuzz bench bench-quick \
	bench-instructions bench-fold bench-user-space bench-jobs bench-containers matrix honesty lint clean

help:
	@echo 'make demo                build, then watch a real C package being built, and show the report'
	@echo 'make test                unit tests, kernel tests on this host as root and in VMs ($(VM_KERNELS)), end to end'
	@echo 'make build               debug build of everything, tests included'
	@echo 'make release             the one-file binary, $(MARTLET)'
	@echo 'make relink-kit          what it was linked from, to pass on with it: see LICENSES/THIRD-PARTY.txt'
	@echo 'make test-release        that binary on Debian 11 and 12, and where there is nothing else'
	@echo 'make unit-test           without privileges'
	@echo 'make kernel-test         the kernel programs, on this host, as root'
	@echo 'make vm-test             the same in VMs; VM_KERNELS="5.10 7.3" chooses others'
	@echo 'make matrix              doctor on each kernel, with BPF LSM and without: docs/kernels.md'
	@echo 'make e2e                 the command, from outside, as root'
	@echo 'make fuzz                each fuzz target for FUZZ_SECONDS=$(FUZZ_SECONDS)'
	@echo 'make bench               what martlet costs, against the bare workload and what others use; half an hour'
	@echo 'make bench-instructions  the same in instructions, in a VM: repeatable, gates CI'
	@echo 'make bench-fold          user space alone: records a second, allocations'
	@echo 'make bench-user-space    the same in instructions, with the event log, by stage'
	@echo 'make bench-jobs          many jobs under one agent: kept apart, complete, in time; seven minutes'
	@echo 'make bench-containers    images that jobs build: whose containers are seen, and what it costs; a quarter of an hour'
	@echo 'make honesty             nothing lost, flat memory, causes before effects, overload told; ten minutes'
	@echo 'make lint                formatting and house rules'

build:
	@scripts/bootstrap build
	$(SWIFT) build --build-tests $(SWIFT_FLAGS)

release: $(MARTLET)

# Always asked for: the build system knows what is out of date.
.PHONY: $(MARTLET)
$(MARTLET):
	@scripts/bootstrap build
	MARTLET_LINKED=$(LINKED) $(SWIFT) build --product martlet $(RELEASE_FLAGS)
	@scripts/finish-release "$$($(SWIFT) build --show-bin-path $(RELEASE_FLAGS))/martlet" $(MARTLET) $(LINKED).map

relink-kit: release
	@scripts/bootstrap relink
	scripts/relink-kit $(MARTLET) $(LINKED).tar $(BUILD)/martlet-relink-kit.tar.zst

test-release: release
	@scripts/bootstrap userland
	roots=$$($(AS_ROOT) scripts/userland bullseye) && roots=$$roots:$$($(AS_ROOT) scripts/userland bookworm) && \
	  $(AS_ROOT) env MARTLET=$(CURDIR)/$(MARTLET) MARTLET_ROOTS=$$roots scripts/end-to-end test_release.py

demo:
	@scripts/bootstrap build demo
	@$(MAKE) --no-print-directory release
	@scripts/demo $(MARTLET)

test:
	@scripts/bootstrap build test
	$(MAKE) --no-print-directory build
	$(MAKE) --no-print-directory unit-test kernel-test
	@# Side by side: the one mostly waits, for jobs to be over and containers to start, and guests see nothing of it.
	$(MAKE) --no-print-directory -j 2 e2e vm-test
	@echo 'make test: all passed'

unit-test:
	scripts/run-tests --unprivileged --skip KernelTests

kernel-test:
	$(AS_ROOT) Kernels/test --no-build host
	$(AS_ROOT) scripts/run-tests --filter KernelSensorTests

vm-test:
	@scripts/bootstrap test
	Kernels/test --no-build $(VM_KERNELS)
	Kernels/test --no-build --append lsm=landlock,yama --filter KernelTests/Doctor 6.12
	Kernels/test --no-build --append preempt=full --filter KernelTests/Storms 6.12

matrix: release
	@scripts/bootstrap test
	$(AS_ROOT) Kernels/matrix --martlet $(MARTLET) $(MATRIX_FLAGS)

e2e:
	@scripts/bootstrap test
	$(AS_ROOT) scripts/end-to-end

fuzz:
	@scripts/bootstrap build
	Fuzz/run $(FUZZ_SECONDS)

storm:
	@$(MAKE) --no-print-directory -C Benchmarks/storms OUTPUT=$(CURDIR)/$(BUILD)/benchmarks

.PHONY: storm
bench: release storm
	@scripts/bootstrap bench
	$(AS_ROOT) Benchmarks/bench $(BENCH_FLAGS)

bench-quick: release storm
	@scripts/bootstrap bench
	$(AS_ROOT) Benchmarks/bench --scale 0.05 --pairs 3 --peers none $(BENCH_FLAGS)

bench-instructions: release storm
	@scripts/bootstrap test
	Benchmarks/instructions $(BENCH_FLAGS)

bench-fold:
	@scripts/bootstrap build
	$(SWIFT) build --product fold-benchmark $(RELEASE_FLAGS)
	"$$($(SWIFT) build --show-bin-path $(RELEASE_FLAGS))/fold-benchmark"

bench-user-space:
	@scripts/bootstrap build instructions
	$(SWIFT) build --product fold-benchmark $(RELEASE_FLAGS)
	Benchmarks/user-space "$$($(SWIFT) build --show-bin-path $(RELEASE_FLAGS))/fold-benchmark"

bench-containers: release
	@scripts/bootstrap test bench userland
	$(AS_ROOT) Benchmarks/containers

bench-jobs: release storm
	$(AS_ROOT) Benchmarks/jobs $(BENCH_FLAGS)

honesty: release storm
	@scripts/bootstrap bench
	$(AS_ROOT) Benchmarks/honesty

lint:
	scripts/lint

clean:
	rm -rf $(BUILD)
