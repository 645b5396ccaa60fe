"""二回きいても、生成は一回だけ。モデルは模擬なので、鍵は要りません。

python examples/quickstart_ja.py
"""

import tempfile
from pathlib import Path

from yamabiko import Hit, Policy, Request, open_sync_cache
from yamabiko.generators.simulated import SimulatedModel

# 自分のモデルの代わり。Request を受け取り、文字列か Reply を返す関数なら何でもよい(async でもよい)。
call_model = SimulatedModel(
    {
        "パスワードを忘れたときはどうすればいいですか？": "ログイン画面の「パスワードを忘れた方」を選んでください。",
        "返品は何日以内にできますか？": "お届けから30日以内です。",
    },
    time_scale=0.1,
)

with tempfile.TemporaryDirectory() as folder:
    url = f"sqlite:///{(Path(folder) / 'cache.db').as_posix()}"

    with open_sync_cache(url) as cache:
        for question in (
            "パスワードを忘れたときはどうすればいいですか？",
            "パスワードを忘れたときはどうすればいいですか?",
            "返品は何日以内にできますか？",
        ):
            reply = cache.answer(question, generate=call_model)
            print(f"「{question}」 {reply.text}")
    print("モデルの呼び出し:", call_model.calls)

    # 別のプロセスでも、明日でも、答えは残っている。日本語は、ラベルがそろうまでは 10 % の約束で答える。
    with open_sync_cache(url, policy=Policy(max_error_rate=0.1)) as cache:
        outcome = cache.lookup("パスワードを忘れた時はどうすればいいでしょうか？")
        print("意味で見つかった:", isinstance(outcome, Hit), f"類似度 {outcome.similarity or 0:.3f}")
        for reason in outcome.reasons:
            print(" ", reason)

        # 答えを変えるものは必ず分ける。ほかのテナントの答えは決して返らない。
        outcome = cache.lookup(Request("返品は何日以内にできますか？", tenant="acme"))
        print("ほかのテナントに返った:", isinstance(outcome, Hit))
