# The two commands of the README: make demo, make test. The rest serves development.
JOBS ?= $(shell nproc)

.PHONY: all deps release debug test demo bench lint format clean tsan headers tidy sim kills fuzz planted

all: release

deps:
	@scripts/install-deps

release: deps
	@cmake --preset release >build-release.log 2>&1 || { tail -20 build-release.log; exit 1; }
	@cmake --build --preset release -j $(JOBS)

debug: deps
	@cmake --preset debug >build-debug.log 2>&1 || { tail -20 build-debug.log; exit 1; }
	@cmake --build --preset debug -j $(JOBS)

# Everything that can run on this machine: layout, units and simulation under address and undefined sanitizers, then
# end to end on real containers with the release build.
test: lint headers debug tidy release
	@scripts/run-tests

demo: release
	@scripts/demo

bench: release
	@build/release/src/app/tutti bench

# make sim SEEDS=n: as many seeds of the simulated pool; make kills KILLS=n: real processes killed at random.
sim: release
	@SIM_SEEDS=$(or $(SEEDS),2000) SIM_SECONDS=100000 build/release/test/sim/sim_test

kills: release
	@test/e2e/kills $(or $(KILLS),100)

# make fuzz SECONDS=n: each target for so long, two at a time.
fuzz: debug
	@LANES=2 scripts/run-fuzz $(or $(SECONDS),60)

# Bugs put in on purpose: the simulation must find each.
planted: release
	@test/sim/planted

lint: deps
	@scripts/check-arrows
	@find src test -name '*.h' -o -name '*.cc' | xargs clang-format-19 --dry-run -Werror || { echo "lint: run 'make format'"; exit 1; }

tsan: deps
	@cmake --preset tsan >build-tsan.log 2>&1 || { tail -20 build-tsan.log; exit 1; }
	@cmake --build --preset tsan -j $(JOBS) --target net_test state_test manager_test manager_api_test catalog_test worker_test
	@ctest --test-dir build/tsan --output-on-failure --timeout 900 -R '^(net|state|manager|manager_api|catalog|worker)$$'

headers: deps
	@cmake --preset headers >build-headers.log 2>&1 || { tail -20 build-headers.log; exit 1; }
	@cmake --build --preset headers -j $(JOBS) --target headers >build-headers.log 2>&1 || { grep -A6 -E 'error:|FAILED' build-headers.log; exit 1; }

# What changed since main; ALL=1: everything.
tidy: deps
	@[ -f build/debug/compile_commands.json ] || cmake --preset debug >build-debug.log 2>&1 || { tail -20 build-debug.log; exit 1; }
	@scripts/tidy

format:
	@find src test -name '*.h' -o -name '*.cc' | xargs clang-format-19 -i

clean:
	rm -rf build build-*.log
