# make            build the module and the extension script
# make install    put both where PostgreSQL looks for them (needs write access there)
# make demo       install what is missing, build, and run the example shop; DATA=DIR replays real shops
# make test       the whole test suite
# make bench      the benchmarks

EXTENSION  = pg_lifecycle
MODULE_big = pg_lifecycle
EXTVERSION = $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" pg_lifecycle.control)

PG_CONFIG ?= pg_config
PGXS := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))

# A room depends only on the rooms before it, and so does its SQL. src/rules has none.
ROOMS     = pg customer loyalty segment scenario outbox engine source worker report
SQL_PARTS = $(foreach room,$(ROOMS),$(sort $(wildcard src/$(room)/*.sql)))
SCRIPT    = $(EXTENSION)--$(EXTVERSION).sql

SOURCES = $(sort $(wildcard src/*/*.cpp))
OBJS    = $(SOURCES:.cpp=.o)

DATA_built  = $(SCRIPT)
EXTRA_CLEAN = $(OBJS:.o=.d) .build-flags build

REGRESS      = $(sort $(basename $(notdir $(wildcard sql/*.sql))))
REGRESS_OPTS = --inputdir=.
ifneq (,$(wildcard test/isolation/specs/*.spec))
ISOLATION      = $(sort $(basename $(notdir $(wildcard test/isolation/specs/*.spec))))
ISOLATION_OPTS = --inputdir=test/isolation
endif

ifeq ($(CI),true)
WERROR = 1
endif

# The server's headers are not ours to warn about: a directory given both ways counts as -isystem. PostgreSQL 15 leaves
# PGDLLEXPORT empty, which would hide every SQL-callable function.
PG_CPPFLAGS = -I$(srcdir)/src -isystem $(shell $(PG_CONFIG) --includedir-server) \
              -D'PGDLLEXPORT=__attribute__((visibility("default")))'
PG_CXXFLAGS = -std=c++20 -O2 -fno-exceptions -fno-rtti -fno-threadsafe-statics -fvisibility=hidden \
              -Wall -Wextra -Wno-unused-parameter $(if $(WERROR),-Werror)

# Bitcode would let the server inline C functions into expressions; ours are too large for that to pay.
override with_llvm := no

.DEFAULT_GOAL := all

ifneq (,$(PGXS))
include $(PGXS)
else
all install uninstall installcheck:
	@echo '$(PG_CONFIG) knows no PGXS: run tools/setup.sh, or pass PG_CONFIG=...' >&2; exit 1
clean:
	rm -rf $(OBJS) $(SCRIPT) $(EXTRA_CLEAN)
endif

# Linked by $(CC) through PGXS: whatever would need libstdc++ then shows up as an undefined symbol.
$(OBJS): %.o: %.cpp .build-flags
	$(CXX) $(CXXFLAGS) $(CPPFLAGS) -MMD -MP -c -o $@ $<

-include $(wildcard $(OBJS:.o=.d))

# Both are rewritten only when they change, so that neither another server version nor a removed file goes unnoticed.
write_if_changed = cmp -s $@.tmp $@ && rm $@.tmp || mv $@.tmp $@

.build-flags: FORCE
	@printf '%s\n' '$(subst ','\'',$(CXX) $(CXXFLAGS) $(CPPFLAGS) $(VERSION))' > $@.tmp; $(write_if_changed)

$(SCRIPT): FORCE
	@{ printf '%s\n' '\echo Use "CREATE EXTENSION $(EXTENSION)" to load this file. \quit'; \
	   for part in $(SQL_PARTS); do printf '\n-- %s\n\n' $$part; cat $$part; done; } > $@.tmp; $(write_if_changed)

check-module: all
	tools/check-module.sh

# These install what is missing before they build, which is why they do not depend on all.
setup:
	tools/setup.sh
test:
	tools/test.sh
bench:
	tools/build.sh
	bench/run.sh
demo:
	tools/build.sh
	demo/run.sh $(DATA)
demo-stop:
	demo/stop.sh

format:
	clang-format -i $(SOURCES) $(wildcard src/*/*.hpp src/*.hpp)

.PHONY: all check-module setup test bench demo demo-stop format FORCE
