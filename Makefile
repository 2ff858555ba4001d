# `make` lists the everyday commands, `make help-dev` the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

# What a command does must not depend on the user's shell. tools/run_ansible.py does the same for Ansible.
export LC_ALL := C.UTF-8
export PYTHONUTF8 := 1
unexport LANGUAGE CDPATH BASH_ENV ENV SHELLOPTS BASHOPTS POSIXLY_CORRECT GREP_OPTIONS
unexport PYTHONHOME PYTHONPATH PYTHONSTARTUP PYTHONOPTIMIZE PYTHONINSPECT PYTHONWARNINGS PYTHONIOENCODING

# Virtual environments and Ansible take these for more than a letter. Spaces and quotes are fine.
UNFIT := $(strip $(foreach sign,: $$ { * ? [,$(findstring $(sign),$(CURDIR))))
ifneq ($(UNFIT),)
$(error Move this checkout to a folder without $(UNFIT) in its path: $(CURDIR))
endif

# The machine: this one, or another by ssh with TARGET=vm (inventory/vm.yml). Where STACK_HOST does not
# say which, it is the one that `vagrant up` made.
TARGET ?= localhost
ifeq ($(origin TARGET)$(wildcard inventory/$(TARGET).yml),environment)
# Another program's: cross compilers use the name.
TARGET := localhost
endif
INVENTORY ?= inventory/$(TARGET).yml
ifeq ($(TARGET)$(STACK_HOST),vm)
-include .vagrant/target.mk
# What the Vagrantfile tells the guest's own inventory. It outranks variables of the inventory; what you say in ARGS wins.
override ARGS := $(addprefix -e @,$(wildcard .vagrant/stack.yml)) $(ARGS)
endif
# Arguments for ansible-playbook, for example ARGS='-e nginx_rate_limit=20r/s --check --diff'.
ARGS ?=
# From the command line only: WSL sets NAME, shells set LINES, other programs the others.
# Table that `make model` trains on. Without one it trains on the small sample, beside the model that
# the stack serves. LABELS=merge corrects labels that differ in spelling only, LABELS=refuse stops there.
DATA :=
TEXT_COLUMN :=
LABEL_COLUMN :=
LABELS :=
# What `make use-model` serves: a file of joblib or models:/name@alias, and a table of texts. Both write to OUT.
MODEL :=
SAMPLES :=
OUT :=
# `make status FORMAT=json`, `make logs LINES=100`, `make logs REQUEST=id`.
FORMAT := table
LINES := 20
REQUEST :=
# `make backup FILE=path.tar.gz`, `make rollback RELEASE=id`, `make rotate-password NAME=admin`,
# `make teardown CONFIRM=yes`, `make check-tls GRADE=A+`.
FILE :=
RELEASE :=
NAME :=
CONFIRM :=
GRADE :=
# `make test TIER=unit`: folders of tests/. `make test-all LEAVE_OUT=matrix`: all but these.
TIER :=
LEAVE_OUT :=
# `make test-matrix ONLY=umask`: the tests whose name holds it.
ONLY :=

VENV := .venv
# Recipes read them from there, quoted: paths may hold spaces.
export TARGET INVENTORY ARGS DATA FILE NAME RELEASE REQUEST ONLY TEXT_COLUMN LABEL_COLUMN LABELS MODEL SAMPLES OUT
BIN := $(VENV)/bin
# Two checkers of Nginx' configuration, an environment each.
GIXY := .cache/gixy-ng/installed .cache/gixy-next/installed
LOCAL := $(filter inventory/localhost.yml,$(INVENTORY))
# Adds INVENTORY, ARGS and, where sudo wants one, the question for a password.
RUN := $(BIN)/python tools/run_ansible.py
PLAYBOOK := $(RUN) playbook
ASK := bash playbooks/ask.sh '{{ stack_name }}'
PYTEST := $(BIN)/python -m pytest --quiet
COLUMNS_GIVEN := $(if $(TEXT_COLUMN),--text-column "$$TEXT_COLUMN") $(if $(LABEL_COLUMN),--label-column "$$LABEL_COLUMN")
# A replica's memory, and what its model may name: of the inventory, else the role's default.
MODEL_LIMITS := {{ api_memory | default((lookup("file", playbook_dir ~ "/../roles/api/defaults/main.yml") | from_yaml).api_memory) }} \
  {{ api_model_allow | default([]) | join(",") }}
# What asks the stack, and beside it what does not: tests/conftest.py.
SIDE_BY_SIDE := --numprocesses=2 --no-loadscope-reorder
# Targets with their explanations: those of the first section, or of the others.
explained = awk -v first='$(1)' 'BEGIN {FS = ":.*\#\# "} \
  /^\#\#@/ {section++; shown = (section == 1) == (first != ""); if (shown) printf "\n%s\n", substr($$0, 5)} \
  shown && /^[a-z-]+:.*\#\# / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ The stack

start-project: $(VENV)/controller ## Install the stack, or apply what has changed
	$(PLAYBOOK) playbooks/site.yml

stop-project: $(VENV)/controller ## Stop the stack and keep its data
	$(PLAYBOOK) playbooks/stop.yml

plan: $(VENV)/controller ## Show what start-project would change; changes nothing
	@bash playbooks/plan.sh

deploy: $(VENV)/controller ## Deploy new code or a new model, one replica at a time (also part of start-project)
	$(PLAYBOOK) playbooks/site.yml --tags docker,api -e __stack_change=deploy

rollback: $(VENV)/controller ## Return to the release before, or to RELEASE=id; builds nothing
	$(RUN) $(if $(RELEASE),--text api_release="$$RELEASE") playbook playbooks/rollback.yml

releases: $(VENV)/controller ## List the releases that a rollback can return to, the live one first
	@$(ASK) releases

upgrade: $(VENV)/controller ## Install security updates in the images and on the machine, one container at a time
	$(PLAYBOOK) playbooks/upgrade.yml

status: $(VENV)/controller ## Show version, containers, health and certificate (FORMAT=json)
	@$(ASK) status $(if $(filter json,$(FORMAT)),--json)

logs: $(VENV)/controller ## Show the last lines of every container (LINES=20), or of one request (REQUEST=id)
	@$(ASK) logs $(if $(REQUEST),--request "$$REQUEST",'$(LINES)')

env: $(VENV)/controller ## Print addresses and credentials for a shell's eval
	@$(ASK) env

doctor: $(VENV)/controller ## Check the machine and the stack on one page; changes nothing
	@$(BIN)/python tools/doctor.py

backup: $(VENV)/controller ## Save the monitoring's data to FILE=path.tar.gz on this machine
	$(RUN) --path monitoring_archive_path="$$FILE" playbook playbooks/backup.yml

restore: $(VENV)/controller ## Restore what make backup saved in FILE=path.tar.gz
	$(RUN) --path monitoring_archive_path="$$FILE" playbook playbooks/restore.yml

test: $(VENV)/tests $(GIXY) .cache/audit/installed ## Run linters, unit, template, policy, host, behaviour, page and security tests (TIER=unit)
	@$(if $(filter page,$(or $(TIER),page)),$(BIN)/python tests/page/supplies.py)
	@$(PYTEST) $(SIDE_BY_SIDE) $(if $(TIER),$(addprefix tests/,$(TIER)),tests)

teardown: $(VENV)/controller ## Remove the stack with all its data (CONFIRM=yes does not ask)
	@if [ -t 0 ] && [ "$(CONFIRM)" != yes ]; then \
	  read -r -p 'This removes containers, data, certificates and passwords. Type yes to continue: ' answer; [ "$$answer" = yes ]; fi
	$(PLAYBOOK) playbooks/teardown.yml

help: ## Show this list; make help-dev shows the rest
	@$(call explained,1)

##@ Rarely needed

verify: $(VENV)/controller ## Check every part of the running stack; changes nothing
	$(PLAYBOOK) playbooks/verify.yml

history: $(VENV)/controller ## Show who changed what, when, and how it ended (LINES=20)
	@$(ASK) history '$(LINES)'

maintenance: $(VENV)/controller ## Answer 503 to every client: make maintenance on, then make maintenance off
	@$(ASK) maintenance $(filter on off,$(MAKECMDGOALS))

# Words of it, no targets of their own.
ifneq ($(filter maintenance,$(MAKECMDGOALS)),)
on off: ; @:
endif

rotate-cert: $(VENV)/controller ## Make a new key and certificate, and load them at once
	@$(ASK) certificate --rotate

rotate-password: $(VENV)/controller ## Make a new password for NAME=admin; the old one ends at once
	$(RUN) --list nginx_new_passwords="$${NAME:-admin}" playbook playbooks/site.yml

forget-future: $(VENV)/controller ## Delete samples from the future in Prometheus, after a clock that was ahead
	$(PLAYBOOK) playbooks/forget_future.yml

check-tls: $(VENV)/controller .cache/check-tls/installed ## Have sslyze and testssl.sh judge the gateway's TLS (GRADE=A+ requires HSTS)
	@GRADE='$(GRADE)' bash tools/check_tls.sh

audit: .cache/audit/installed ## Report known vulnerabilities and pending updates; write bills of materials
	@[ -n "$(LOCAL)" ] || { echo 'make audit checks the machine that it runs on: run it there'; exit 2; }
	@.cache/audit/bin/python tools/audit.py

model: $(VENV)/tests ## Train a model (DATA=my.csv into model/ or OUT=folder; else the sample, into .cache/model/)
	@$(BIN)/python src/gen_model.py --data "$${DATA:-data/tweet_emotions.csv}" \
	  --out "$${OUT:-$(if $(DATA),model,.cache/model)}" $(if $(LABELS),--labels "$$LABELS") $(COLUMNS_GIVEN)

use-model: $(VENV)/tests ## Serve a pipeline of your own: MODEL=my_pipeline.joblib SAMPLES=texts.csv into model/ or OUT=folder
	@[ -n "$(MODEL)" ] && [ -n "$(SAMPLES)" ] || \
	  { echo 'Name both: make use-model MODEL=my_pipeline.joblib SAMPLES=texts.csv'; exit 2; }
	@values=$$($(RUN) --no-become --callback ask --text ask_text='$(MODEL_LIMITS)' playbook playbooks/ask.yml) && \
	read -r memory allow <<<"$$values" && \
	$(BIN)/python src/use_model.py --model "$$MODEL" --samples "$$SAMPLES" --out "$${OUT:-model}" $(COLUMNS_GIVEN) \
	  --memory "$$memory" --allow "$$allow"

##@ Tests

test-all: $(VENV)/tests $(GIXY) .cache/audit/installed ## Run all tests but those on virtual machines: an hour and a half (LEAVE_OUT=matrix; root)
	@$(BIN)/python tests/page/supplies.py
	@$(PYTEST) $(SIDE_BY_SIDE) --override-ini='norecursedirs=.* $(LEAVE_OUT)' tests

test-security: $(VENV)/tests ## Attack the running stack from a network namespace (root)
	@$(PYTEST) tests/security

test-faults: $(VENV)/tests ## Kill, hang, cut off, overfill and misdeploy a second stack under load (two hours, root)
	@FAULTS=full $(PYTEST) tests/faults

test-lifecycle: $(VENV)/tests ## Install, change, refuse, stop, start and remove a second stack (LIFECYCLE=short; root)
	@$(PYTEST) --verbose --verbose tests/lifecycle

test-matrix: $(VENV)/tests ## Run the everyday commands under other locales, settings and folders (ONLY=umask; root)
	@$(PYTEST) tests/matrix $(if $(ONLY),-k "$$ONLY")

test-vm: $(VENV)/tests ## Run the stack on virtual machines: Vagrant, ssh, reboot, power cut (two to three hours, root)
	@bash tests/vm/run.sh

lint: $(VENV)/tests $(GIXY) ## Run every linter
	@$(PYTEST) tests/linters

check-nginx: $(VENV)/tests $(GIXY) ## Check the rendered configuration with gixy-ng and gixy-next (part of lint)
	@$(BIN)/python tools/check_nginx.py

check-model: $(VENV)/tests ## Compare the compiled model with scikit-learn on every sentence of DATA=file.csv
	@[ -n "$(DATA)" ] || { echo 'Name the data: make check-model DATA=path/to/tweet_emotions.csv'; exit 2; }
	PYTHONPATH=src $(BIN)/python tools/check_model.py --data "$$DATA" --model model

fuzz: $(VENV)/tests ## Send at least 5,000 generated requests to a replica of its own
	@$(PYTEST) tests/fuzz

##@ The project

dashboards: $(VENV)/tests ## Build Grafana's dashboards from src/gen_dashboards.py
	$(BIN)/python src/gen_dashboards.py

docs: $(VENV)/tests ## Write the generated pages of docs/
	$(BIN)/python tools/render.py --write

docs-picture: $(VENV)/tests ## Picture /docs in headless Chromium, and check that no other host is asked
	@bash tools/shoot_docs.sh

archive: ## Pack the last commit as dist/*.tar.gz and dist/*.zip
	@mkdir -p dist
	git archive --prefix=emotions/ --output=dist/emotions.tar.gz HEAD
	git archive --prefix=emotions/ --output=dist/emotions.zip HEAD
	@ls -l dist

help-dev: ## Show rarely needed commands, tests and the project's own tools
	@$(call explained,)
	@printf '\nBenchmarks: make -C bench\n'

# ---- tools --------------------------------------------------------------------------------------

$(VENV)/controller: requirements.txt
	@bash tools/venv.sh $(VENV) requirements.txt
	@touch $@

$(VENV)/tests: $(VENV)/controller tests/requirements.txt src/api/requirements.txt
	@bash tools/venv.sh $(VENV) requirements.txt tests/requirements.txt src/api/requirements.txt
	@touch $@

# Tools that want other releases of what Ansible and the linters need: an environment for each file.
.cache/%/installed: tools/requirements/%.txt
	@mkdir -p .cache
	@bash tools/venv.sh .cache/$* $<
	@touch $@

.PHONY: start-project stop-project plan deploy rollback releases upgrade status logs env doctor backup restore test teardown help
.PHONY: verify history maintenance rotate-cert rotate-password forget-future check-tls audit model use-model
.PHONY: test-all test-security test-faults test-lifecycle test-matrix test-vm lint check-nginx check-model fuzz
.PHONY: dashboards docs docs-picture archive help-dev
