# SPDX-License-Identifier: BSD-3-Clause
#
# The everyday targets; Meson does the work (meson.build). `make check` is what must pass before a push.

BUILD ?= build
JOBS ?= 2
PREFIX ?= /usr/local

all: $(BUILD)/build.ninja
	ninja -C $(BUILD) -j $(JOBS)

$(BUILD)/build.ninja:
	scripts/setup
	meson setup $(BUILD) -Dwerror=true --prefix=$(PREFIX)

setup:
	scripts/setup

demo: all
	scripts/demo

check:
	scripts/check

bench: all
	ninja -C $(BUILD) -j $(JOBS) bench-private
	@if [ -x scripts/bench ]; then scripts/bench; else \
	    for b in $$(find $(BUILD)/bench -maxdepth 1 -type f -perm -u+x); do $$b || exit; done; fi

soak: all
	scripts/soak

cover:
	scripts/cover

format:
	git ls-files -co --exclude-standard '*.c' '*.h' | xargs clang-format -i

install: all
	meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf build build-clang build-asan build-tsan build-cover build-cross build-fuzz

.PHONY: all setup demo check bench soak cover format install clean
