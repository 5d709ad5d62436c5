# What a person or CI runs. Everything uses cargo's release profile, so that the
# dependencies compile once; everything fetched goes to TAPELINE_CACHE.

# scripts/env finds its place as bash can.
SHELL := bash

.PHONY: help build install demo test lint bench

# Where `make install` puts the program.
PREFIX ?= $(HOME)/.local

help:
	@echo 'make demo    build, then show the program on a synthetic market, without key or network'
	@echo 'make install build, then install below PREFIX, by default ~/.local'
	@echo 'make test    every test: Rust, then the Python acceptance suites over the built program'
	@echo 'make lint    format, clippy, licences and sources of the dependencies'
	@echo 'make bench   the benchmarks, and the tables in docs/benchmarks.md'

build:
	@scripts/setup
	@scripts/cargo build

install: build
	@PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" scripts/install

demo: build
	@. scripts/env && "$$TAPELINE_BIN" demo

test:
	@scripts/setup --tests
	@scripts/test

lint:
	@scripts/setup --lint
	@scripts/lint

bench:
	@scripts/setup --bench
	@scripts/cargo build
	@scripts/cargo build --example quick_server
	@. scripts/env && benchmarks/run
