"""Ask twice, generate once. Runs without a key: the model is simulated.

python examples/quickstart.py
"""

import tempfile
from pathlib import Path

from yamabiko import Hit, Request, open_sync_cache
from yamabiko.generators.simulated import SimulatedModel

# A stand-in for your own model: any function from a Request to a text or a Reply, async or not.
call_model = SimulatedModel(
    {
        "How do I reset my password?": 'Choose "Forgot password" on the sign-in page.',
        "Which browsers do you support?": "The last two versions of Firefox, Chrome and Safari.",
    },
    time_scale=0.1,
)

with tempfile.TemporaryDirectory() as folder:
    url = f"sqlite:///{(Path(folder) / 'cache.db').as_posix()}"

    with open_sync_cache(url) as cache:
        for question in (
            "How do I reset my password?",
            "how do I reset my  password?",
            "Which browsers do you support?",
        ):
            reply = cache.answer(question, generate=call_model)
            print(f"{question!r}: {reply.text}")
    print("model calls:", call_model.calls)

    # Another process, or the same one tomorrow: the answers are still there.
    with open_sync_cache(url) as cache:
        outcome = cache.lookup("How can I reset my password?")
        print("served by meaning:", isinstance(outcome, Hit), f"similarity {outcome.similarity:.3f}")
        for reason in outcome.reasons:
            print(" ", reason)

        # Whatever changes an answer keeps requests apart: another tenant never sees this one's answers.
        outcome = cache.lookup(Request("How do I reset my password?", tenant="acme"))
        print("another tenant is served:", isinstance(outcome, Hit))
