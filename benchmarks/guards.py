"""What the guards cost: CPU time of reading two texts of about thirty words and of every guard on them.

    python benchmarks/guards.py [--rounds 2000]

Writes benchmarks/results/guards.json. A text is read once and compared with each candidate; ``first`` is the
comparison that still has to find everything in both texts, ``again`` one where both were compared before. A guard's own
figure is what it costs alone on two fresh readings; guards on values share what they find, so their sum is too high.
"""

import argparse
import json
import time
from pathlib import Path

from machine import describe
from yamabiko.core.guards import GUARDS, check
from yamabiko.core.guards import read as kept_read

read = kept_read.__wrapped__  # a fresh reading each time, and not the one that is kept
ROOT = Path(__file__).parents[1]
TEXTS = {
    "en, no value": (
        "How do I change the e-mail address of my account when I can't log in to the app any more because I lost my phone and the backup codes that came with it?",
        "I have lost both my phone and its backup codes, so logging in to the app is impossible: is there a way to change the address of the account anyway?",
    ),
    "en, some values": (
        "I ordered two pairs of shoes for $120 on March 3rd and only one arrived; can I still return it within 30 days, or do I have to call support before 5 pm?",
        "On 3 March I bought 2 pairs of shoes for 120 dollars but just one came. Is it possible to send it back within thirty days, or must I phone support by 17:00?",
    ),
    "en, many values": (
        "After upgrading from Python 3.11 to 3.12 on Windows 11 my job at 192.168.0.12 fails with error 0x80070005 after 90 seconds; order #10234 needs 16 GB of RAM by next Friday at 9:30 am",
        "Since I moved to Python 3.12 from 3.11 under Windows 11, the job on 192.168.0.12 stops after 1.5 minutes with 0x80070005, and order 10234 wants 16GB RAM until 09:30 next Friday",
    ),
    "ja, no value": (
        "登録したメールアドレスを変更したいのですが、スマートフォンを紛失してしまい、バックアップコードも手元になくアプリにログインできない場合はどうすればよいでしょうか",
        "スマートフォンとバックアップコードをなくしてアプリにログインできなくなりましたが、それでも登録しているメールアドレスを変更する方法はありますか",
    ),
    "ja, some values": (
        "令和6年3月3日に靴を二足、一万二千円で注文しましたが一足しか届きません。三十日以内なら返品できますか、それとも午後5時までに電話する必要がありますか",
        "2024年3月3日に12,000円で靴を2足買ったのに1足だけ届きました。30日以内の返品は可能でしょうか。または17時までに電話しなければなりませんか",
    ),
}


def microseconds(run, rounds: int) -> float:
    """CPU time of one call, the least of twenty tries."""
    tries = []
    for _ in range(20):
        start = time.process_time()
        for _ in range(rounds // 20):
            run()
        tries.append((time.process_time() - start) / (rounds // 20) * 1e6)
    return round(min(tries), 1)


def measure(a: str, b: str, rounds: int) -> dict[str, float]:
    one, other = read(a), read(b)
    check(one, other)
    found = {
        "read both": microseconds(lambda: (read(a), read(b)), rounds),
        "first": microseconds(lambda: check(read(a), read(b)), rounds),
        "again": microseconds(lambda: check(one, other), rounds),
    }
    found["check"] = round(found["first"] - found["read both"], 1)
    for name, guard in GUARDS.items():
        alone = microseconds(lambda guard=guard: guard(read(a), read(b)), rounds // 2)
        found[name] = round(alone - found["read both"], 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2000)
    options = parser.parse_args()
    rows = {name: measure(a, b, options.rounds) for name, (a, b) in TEXTS.items()}
    print(f"{'microseconds of CPU':20}" + "".join(f"{name:>12}" for name in ("read both", "check", "first", "again")))
    for name, row in rows.items():
        print(f"{name:20}" + "".join(f"{row[key]:12.1f}" for key in ("read both", "check", "first", "again")))
    print(f"{'alone':20}" + "".join(f"{name[:15]:>17}" for name in rows))
    for guard in GUARDS:
        print(f"{guard:20}" + "".join(f"{row[guard]:17.1f}" for row in rows.values()))
    target = ROOT / "benchmarks/results/guards.json"
    target.write_text(json.dumps({"machine": describe(), "microseconds": rows}, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
