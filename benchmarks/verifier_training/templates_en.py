"""Groups and fillers of English questions; see templates.py."""

from verifier_training.templates import Filler, Group


def _words(text: str) -> list[Filler]:
    """Fillers by commas, forms of one by slashes."""
    return [tuple(form.strip() for form in one.split("/")) for one in text.split(",")]


_COUNTS = [
    (str(count), word)
    for count, word in zip(
        (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 90, 100),
        [
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "twelve",
            "fifteen",
            "twenty",
            "twenty-five",
            "thirty",
            "forty",
            "fifty",
            "sixty",
            "eighty",
            "ninety",
            "hundred",
        ],
        strict=True,
    )
]

FILLERS: dict[str, list[Filler]] = {
    "app": _words(
        "Dropbox, Trello, Zoom, Telegram, Notion, Evernote, Discord, Pinterest, Shopify, Signal, Excel, Photoshop, "
        "Firefox, Blender, Figma, Asana, Jira, Skype, Twitch, Reddit, Canva, Todoist, Obsidian, WhatsApp, LinkedIn"
    ),
    "tool": _words(
        "Ruby, Rust, Kotlin, Scala, Perl, Julia, Haskell, MATLAB, Swift, PHP, TypeScript, Fortran, Lua, Elixir, "
        "MySQL, MongoDB, Redis, Kafka, Nginx, Ansible, Terraform, Jenkins"
    ),
    "device": _words(
        "laptop, tablet, printer, router, camera, smartwatch, keyboard, television/TV, speaker, projector, scanner, "
        "thermostat, dishwasher, washing machine, microwave, headset, monitor, drone"
    ),
    "animal": _words(
        "rabbit, hamster, parrot, lizard, goat, horse, sheep, cow, duck, chicken, snake, ferret, goldfish, cat, dog, "
        "donkey, frog, owl, bear, wolf, eagle, camel, penguin"
    ),
    "food": _words(
        "rice, bread, yogurt, cheese, spinach, mushrooms, chocolate, garlic, tofu, salmon, lentils, potatoes, honey, "
        "almonds, pasta, avocado, beans, eggs, cabbage, strawberries, shrimp"
    ),
    "city": _words(
        "Lisbon, Vienna, Osaka, Toronto, Nairobi, Lima, Oslo, Seoul, Madrid, Prague, Cairo, Boston, Denver, Mumbai, "
        "Athens, Dublin, Hanoi, Bogota, Helsinki, Seattle, Austin, Munich, Kyoto, Sydney"
    ),
    "country": _words(
        "Norway, Portugal, Vietnam, Kenya, Peru, Poland, Greece, Canada, Thailand, Morocco, Chile, Austria, Iceland, "
        "Malaysia, Ghana, Sweden, Turkey, Ireland, Nepal, Cuba, Finland, Jordan"
    ),
    "person": _words(
        "Marie Curie, Isaac Newton, Frida Kahlo, Nelson Mandela, Ada Lovelace, Alan Turing, Amelia Earhart, "
        "Johannes Kepler, Leonardo da Vinci, Jane Austen, Charles Darwin, Mozart, Cleopatra, Abraham Lincoln"
    ),
    "name": _words(
        "Alice, Brian, Carla, Dmitri, Emma, Farid, Grace, Hiro, Ivan, Julia, Kevin, Laura, Marco, Nadia, Oscar, Paula, "
        "Rahul, Sofia, Thomas, Wendy, Yusuf"
    ),
    "job": _words(
        "nurse, pilot, lawyer, plumber, architect, journalist, chef, teacher, carpenter, accountant, photographer, "
        "translator, electrician, actor, librarian, engineer, waiter, farmer"
    ),
    "trait": _words(
        "taller, faster, stronger, older, richer, heavier, smarter, louder, quieter, kinder, more patient, "
        "more popular, more expensive, more reliable, happier, safer, colder, busier"
    ),
    "adjective": _words(
        "famous, cheap, dangerous, healthy, confident, lazy, patient, honest, boring, popular, rude, shy, creative, "
        "quiet, polite, selfish, nervous, brave, productive"
    ),
    "activity": _words(
        "swim, sing, dance, cook, paint, play chess, write poetry, juggle, ski, surf, play the violin, knit, "
        "ride a motorcycle, bake bread, speak Korean, draw portraits, take photos, meditate"
    ),
    "doing": _words(
        "smoking, jogging, fasting, shouting, gambling, fishing, camping, singing, begging, skateboarding, sleeping, "
        "drinking alcohol, protesting, parking, filming, swimming, barbecuing"
    ),
    "thing": _words(
        "bicycle/bike, sofa/couch, backpack, umbrella, guitar, tent, helmet, jacket, lamp, suitcase, toaster, mattress, "
        "violin, telescope, blender, carpet, necklace, kettle"
    ),
    "account": _words(
        "billing address, delivery address, phone number, username/user name, profile picture/profile photo, "
        "email address/e-mail address, credit card, time zone, display name, security question, recovery email"
    ),
    "service": _words(
        "gift card, loyalty program, newsletter, free trial, student discount, express delivery, family plan, "
        "monthly plan, annual plan, premium membership, travel insurance, extended warranty"
    ),
    "document": _words(
        "passport, visa, driving licence/driver's license, birth certificate, work permit, tax return, fishing permit, "
        "residence permit, library card, student ID"
    ),
    "file": _words(
        "PDF, CSV file, spreadsheet, zip file, MP3 file, Word document, SVG image, JSON file, video file, "
        "XML file, text file, PowerPoint presentation"
    ),
    "count": _COUNTS,
    "money": [
        (f"${amount}", f"{amount} dollars", f"USD {amount}")
        for amount in (5, 8, 12, 15, 20, 25, 35, 40, 50, 75, 120, 150, 200, 500)
    ],
    "duration": _words(
        "2 hours/two hours/120 minutes, 3 days/three days/72 hours, 2 weeks/two weeks/14 days, 30 minutes/half an hour, "
        "6 months/six months/half a year, 1 year/one year/12 months, 45 minutes/forty-five minutes, 5 days/five days, "
        "10 years/ten years/a decade, 3 months/three months, 3 weeks/three weeks, 20 minutes/twenty minutes, "
        "3 years/three years, 90 minutes/an hour and a half, 8 hours/eight hours, 48 hours/2 days"
    ),
    "weight": _words(
        "5 kg/5 kilograms/five kilos, 500 g/500 grams/half a kilo, 20 kg/20 kilograms, 10 pounds/10 lb/ten pounds, "
        "20 pounds/20 lb, 2 tons/two tons, 5 pounds/5 lbs, 50 kg/50 kilos, 8 kg/8 kilograms, 2 kg/2000 grams"
    ),
    "size": _words(
        "16 GB/16 gigabytes, 32 GB/32 gigabytes, 500 MB/500 megabytes, 2 TB/2 terabytes, 64 GB/64GB, 8 GB/8GB, "
        "100 MB/100MB, 50 GB/50 gigabytes, 5 MB/5 megabytes, 1 TB/1000 GB"
    ),
    "clock": _words(
        "3 pm/3 p.m./15:00, 9 am/9:00/9 o'clock in the morning, noon/12 pm/midday, 5:30 pm/17:30/half past five pm, "
        "8 pm/20:00/8 in the evening, 10 am/10:00 a.m., 6 pm/18:00, 7:15 am/quarter past seven in the morning, "
        "midnight/12 am, 11 am/11:00, 2 pm/14:00"
    ),
    "day": _words("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday"),
    "date": _words(
        "March 3/3 March/March 3rd, July 14/14 July/the 14th of July, December 1/1 December, May 21/21 May/May 21st, "
        "January 30/30 January, August 8/8 August/August 8th, October 2/2 October, June 12/12 June, April 9/April 9th, "
        "November 25/25 November, February 17/the 17th of February"
    ),
    "year": _words("1969, 1989, 1995, 2001, 2004, 2008, 2012, 2015, 2018, 2019, 2021, 2022, 2023, 1914, 1945, 1815"),
    "version": _words("2.0, 2.1, 3.4, 3.8, 3.9, 4.0, 4.2, 5.1, 5.10, 6.0, 7.3, 8.2, 10.1, 11, 12, 13, 14"),
    "code": _words("404, 403, 500, 502, E21, E12, 0x8007, 0x8008, F05, F50, 1045, 1054, A113, A131, 0x80070005"),
    "order": _words(
        "#48213, #48231, #90017, #90071, A-5512, A-5521, 7730045, 7730054, INV-2041, INV-2014, TK881, TK818"
    ),
    "percent": [(f"{share}%", f"{share} percent") for share in (2, 5, 8, 10, 12, 15, 20, 25, 30, 50, 75)],
    "language": _words(
        "Spanish, Arabic, Swahili, Dutch, Finnish, Hindi, Turkish, Polish, Greek, Korean, Thai, Portuguese, Hebrew"
    ),
    "sport": _words(
        "tennis, cricket, rugby, volleyball, badminton, golf, hockey, baseball, table tennis, fencing, handball, soccer"
    ),
    "subject": _words(
        "the French Revolution, photosynthesis, black holes, inflation, the stock market, climate change, vaccines, "
        "quantum mechanics, the Roman Empire, machine learning, dark matter, blockchain, volcanoes, the water cycle"
    ),
    "bank": _words(
        "savings account, checking account/current account, mortgage, student loan, car loan, business account"
    ),
}

GROUPS: list[Group] = [
    Group(
        {"x": "account", "y": "app"},
        [
            "How do I change my {x} on {y}?",
            "How can I update my {x} in {y}?",
            "I want to change the {x} on my {y} account",
            "Where can I edit my {x} on {y}?",
            "What's the way to update the {x} of my {y} profile?",
            "{y}: change {x}",
        ],
        [
            ["How do I delete my {x} from {y}?", "How can I remove my {x} on {y}?"],
            ["Why can't I change my {x} on {y}?", "What stops me from updating my {x} in {y}?"],
            ["When did I change my {x} on {y}?", "Who can see my {x} on {y}?"],
            ["How do I stop others from changing my {x} on {y}?", "How do I hide my {x} on {y}?"],
        ],
    ),
    Group(
        {"x": "app"},
        [
            "How do I turn on notifications in {x}?",
            "How can I enable {x} notifications?",
            "I want {x} to send me notifications, how do I activate that?",
            "Where do I switch notifications on in {x}?",
        ],
        [
            [
                "How do I turn off notifications in {x}?",
                "How can I disable {x} notifications?",
                "I want {x} to stop sending me notifications",
                "Where do I switch notifications off in {x}?",
            ],
            ["Why does {x} show no notifications?", "How do I delete notifications in {x}?"],
        ],
    ),
    Group(
        {"x": "app", "y": "app"},
        [
            "How do I export my data from {x} to {y}?",
            "What's the best way to move my data from {x} to {y}?",
            "I want to migrate from {x} to {y}",
            "How can I transfer everything in {x} over to {y}?",
            "Is there a way to bring my {x} data into {y}?",
        ],
        [["How do I keep {x} and {y} in sync?", "Which is better, {x} or {y}?"]],
        turned=("x", "y"),
    ),
    Group(
        {"x": "tool", "y": "tool"},
        [
            "What is the difference between {x} and {y}?",
            "How does {x} differ from {y}?",
            "{x} vs {y}: what's the difference?",
            "What distinguishes {x} from {y}?",
            "In which ways are {x} and {y} different?",
        ],
        [
            ["What do {x} and {y} have in common?", "How are {x} and {y} similar?"],
            ["How do I use {x} with {y}?", "Can {x} and {y} be used together?"],
        ],
        free=("x", "y"),
    ),
    Group(
        {"x": "tool", "y": "tool"},
        [
            "Is {x} faster than {y}?",
            "Does {x} run faster than {y}?",
            "Is {y} slower than {x}?",
            "Would {x} beat {y} in speed?",
        ],
        [["Is {x} slower than {y}?", "Is {y} faster than {x}?"], ["Is {x} easier than {y}?", "Is {x} as fast as {y}?"]],
        turned=("x", "y"),
    ),
    Group(
        {"x": "tool", "v": "version"},
        [
            "How do I install {x} {v}?",
            "How can I set up {x} version {v}?",
            "What are the steps to install {x} {v}?",
            "Installing {x} {v}",
        ],
        [
            ["How do I uninstall {x} {v}?", "How can I remove {x} version {v}?"],
            ["Why can't I install {x} {v}?", "What's new in {x} {v}?", "Should I install {x} {v}?"],
            ["How do I upgrade from {x} {v}?", "How do I downgrade from {x} {v}?"],
        ],
    ),
    Group(
        {"x": "tool", "v": "version", "w": "version"},
        ["How do I upgrade {x} from {v} to {w}?", "Updating {x} {v} to {w}, how?", "How to move from {x} {v} to {w}?"],
        [["Can {x} {v} and {w} be installed side by side?", "What changed between {x} {v} and {w}?"]],
        turned=("v", "w"),
    ),
    Group(
        {"x": "device", "c": "code"},
        [
            "What does error {c} on my {x} mean?",
            "My {x} shows error {c}, what is it?",
            "Meaning of error code {c} on a {x}",
            "What is the cause of error {c} on the {x}?",
        ],
        [
            [
                "How do I fix error {c} on my {x}?",
                "Can I ignore error {c} on my {x}?",
                "How do I hide error {c} on the {x}?",
            ]
        ],
    ),
    Group(
        {"o": "order"},
        [
            "Where is my order {o}?",
            "When will order {o} arrive? I mean, where is it now?",
            "Can you track order {o} for me?",
            "What's the status of order {o}?",
            "I'd like to know where order {o} is",
        ],
        [
            ["How do I cancel order {o}?", "I want to cancel my order {o}"],
            ["How do I return order {o}?", "Can I get a refund for order {o}?", "How do I change order {o}?"],
        ],
    ),
    Group(
        {"x": "service"},
        [
            "How do I cancel my {x}?",
            "I want to end my {x}",
            "How can I get out of the {x}?",
            "What do I have to do to stop my {x}?",
            "I no longer want the {x}, how do I cancel it?",
        ],
        [
            ["How do I renew my {x}?", "How can I extend my {x}?"],
            ["How do I sign up for the {x}?", "How do I get a {x}?", "I want to start a {x}"],
            ["Can I pause my {x} without cancelling it?", "What happens if I don't cancel my {x}?"],
        ],
    ),
    Group(
        {"x": "service", "m": "money"},
        ["Why does the {x} cost {m}?", "What is the reason that the {x} is {m}?", "How come I pay {m} for the {x}?"],
        [["Does the {x} cost {m}?", "Why doesn't the {x} cost {m}?", "When did the {x} start to cost {m}?"]],
    ),
    Group(
        {"x": "thing", "m": "money"},
        [
            "Which {x} can I buy for less than {m}?",
            "What's a good {x} under {m}?",
            "Can you recommend a {x} below {m}?",
            "I'm looking for a {x} that costs at most {m}",
        ],
        [["Which {x} costs more than {m}?", "What's a good {x} above {m}?"], ["Where can I sell my {x} for {m}?"]],
    ),
    Group(
        {"x": "thing"},
        [
            "Where can I buy a {x}?",
            "What's a good place to buy a {x}?",
            "I want to buy a {x}, where should I go?",
            "Where do they sell a {x}?",
        ],
        [
            ["Where can I sell a {x}?", "How can I sell my {x}?"],
            ["When should I buy a {x}?", "Why should I buy a {x}?", "How do I repair a {x}?"],
            ["Where can I rent a {x}?", "Where can I throw away a {x}?"],
        ],
    ),
    Group(
        {"x": "thing", "d": "duration"},
        [
            "Can I return a {x} after {d}?",
            "Is it possible to send a {x} back after {d}?",
            "{d} have passed, can I still return my {x}?",
        ],
        [["Can I return a {x} within {d}?", "Can I keep a {x} after {d}?", "Do I have to return the {x} after {d}?"]],
    ),
    Group(
        {"x": "animal", "y": "food"},
        [
            "Can I feed my {x} {y}?",
            "Is it okay to give {y} to my {x}?",
            "May a {x} eat {y}?",
            "Is {y} safe for a {x}?",
            "Are {y} alright for a {x} to eat?",
        ],
        [
            ["Why can't a {x} eat {y}?", "Can I feed my {x} without {y}?"],
            ["How much {y} does a {x} eat?", "Can I feed my {x} only {y}?", "Should I stop giving {y} to my {x}?"],
        ],
    ),
    Group(
        {"x": "animal", "y": "animal", "t": "trait"},
        ["Is a {x} {t} than a {y}?", "Are {x}s {t} than {y}s?", "Which is {t}, a {x} or a {y}? Is it the {x}?"],
        [["Is a {x} less likely to be {t} than a {y}?", "Is a {x} as old as a {y}?"]],
        turned=("x", "y"),
    ),
    Group(
        {"x": "animal", "y": "animal", "t": "trait"},
        ["What is {t}, a {x} or a {y}?", "Which one is {t}: a {x} or a {y}?", "Between a {x} and a {y}, which is {t}?"],
        [["What is less {t}, a {x} or a {y}?", "How is a {x} {t} than a {y}?"]],
        free=("x", "y"),
    ),
    Group(
        {"x": "name", "y": "name", "t": "trait"},
        ["Is {x} {t} than {y}?", "Compared with {y}, is {x} {t}?", "Would you say {x} is {t} than {y}?"],
        [["Isn't {x} as kind as {y}?", "Are {x} and {y} alike?"]],
        turned=("x", "y"),
    ),
    Group(
        {"x": "name", "y": "name"},
        ["Did {x} call {y}?", "Was {y} called by {x}?", "Has {x} phoned {y}?"],
        [["Why did {x} call {y}?", "Did {x} not call {y}?"]],
        turned=("x", "y"),
    ),
    Group(
        {"x": "name", "y": "name", "z": "thing"},
        [
            "Who sold {x}'s {z} to {y}?",
            "By whom was the {z} of {x} sold to {y}?",
            "Who was it that sold {y} {x}'s {z}?",
        ],
        [["Who bought {x}'s {z} from {y}?", "Did someone sell {x}'s {z} to {y}?"]],
        turned=("x", "y"),
    ),
    Group(
        {"x": "name", "y": "name"},
        ["{x} thinks that {y} is wrong", "In {x}'s opinion, {y} is wrong", "According to {x}, {y} is mistaken"],
        [["{x} thinks that {y} is right", "{x} doesn't think that {y} is wrong"]],
        turned=("x", "y"),
    ),
    Group(
        {"x": "name", "y": "name", "j": "job"},
        ["Is {x}, {y}'s boss, a {j}?", "Does {y}'s boss {x} work as a {j}?", "Is {y}'s boss {x} a {j}?"],
        [["Was {x}, {y}'s boss, a {j}?", "Is {x}, {y}'s boss, not a {j}?", "Did {x}, {y}'s boss, use to be a {j}?"]],
        turned=("x", "y"),
    ),
    Group(
        {"x": "job"},
        [
            "How do I become a {x}?",
            "What does it take to become a {x}?",
            "What are the steps to be a {x}?",
            "I want to be a {x}, how do I start?",
        ],
        [
            ["How do I stop being a {x}?", "How do I not become a {x}?", "Should I become a {x}?"],
            [
                "How do I hire a {x}?",
                "How do I find a good {x}?",
                "What does a {x} earn?",
                "Why do people become a {x}?",
            ],
        ],
    ),
    Group(
        {"x": "adjective"},
        [
            "How can I become more {x}?",
            "How do I get to be more {x}?",
            "What can I do to be more {x}?",
            "Ways to become more {x}?",
        ],
        [
            ["How can I become less {x}?", "How do I stop being {x}?", "What can I do to be less {x}?"],
            [
                "Why am I {x}?",
                "Should I become more {x}?",
                "How do I know if I'm {x}?",
                "How do I make others more {x}?",
            ],
        ],
    ),
    Group(
        {"x": "adjective", "j": "job"},
        ["Are most {j}s {x}?", "Is a typical {j} {x}?", "Are {j}s {x} in general?"],
        [
            ["Are all {j}s {x}?", "Are some {j}s {x}?", "Are no {j}s {x}?"],
            ["Why are {j}s {x}?", "Are most {j}s not {x}?"],
        ],
    ),
    Group(
        {"x": "activity"},
        [
            "How do I learn to {x}?",
            "What's the best way to learn to {x}?",
            "I'd like to learn to {x}, where do I begin?",
            "How can I teach myself to {x}?",
        ],
        [
            ["How do I teach my child to {x}?", "Why should I learn to {x}?", "How long does it take to learn to {x}?"],
            ["Can I {x} when I'm 80?", "Who can {x}?", "How do I stop wanting to {x}?", "Do I have to learn to {x}?"],
        ],
    ),
    Group(
        {"x": "doing", "y": "country"},
        ["Is {x} allowed in {y}?", "Is {x} legal in {y}?", "Does {y} allow {x}?", "Am I permitted to go {x} in {y}?"],
        [
            ["Is {x} forbidden in {y}?", "Is {x} illegal in {y}?", "Does {y} prohibit {x}?"],
            [
                "Why is {x} allowed in {y}?",
                "Is {x} required in {y}?",
                "Is {x} popular in {y}?",
                "Is {x} allowed outside {y}?",
            ],
        ],
    ),
    Group(
        {"x": "city", "y": "city"},
        [
            "How do I get from {x} to {y}?",
            "What's the best way to travel from {x} to {y}?",
            "I need to go to {y} from {x}, how?",
            "Going from {x} to {y}: what are my options?",
        ],
        [["How far is {x} from {y}?", "How long is the trip from {x} to {y}?"], ["Which is nicer, {x} or {y}?"]],
        turned=("x", "y"),
    ),
    Group(
        {"x": "city", "y": "city"},
        [
            "How far is it from {x} to {y}?",
            "What is the distance between {x} and {y}?",
            "How many kilometres apart are {x} and {y}?",
        ],
        [["How long does it take from {x} to {y}?", "How do I get from {x} to {y}?"]],
        free=("x", "y"),
    ),
    Group(
        {"x": "city", "y": "city", "t": "clock", "d": "day"},
        [
            "Is there a train from {x} to {y} at {t} on {d}?",
            "Does a train leave {x} for {y} on {d} at {t}?",
            "On {d}, is there a {t} train from {x} to {y}?",
        ],
        [["Is there a bus from {x} to {y} at {t} on {d}?", "Is there a train from {x} to {y} after {t} on {d}?"]],
        turned=("x", "y"),
    ),
    Group(
        {"x": "city", "d": "duration"},
        [
            "What can I see in {x} in {d}?",
            "I have {d} in {x}, what should I visit?",
            "Things to do in {x} if I only have {d}",
        ],
        [["Is {d} enough for {x}?", "What should I avoid in {x} in {d}?", "Where do I sleep in {x} for {d}?"]],
    ),
    Group(
        {"x": "city", "d": "day", "t": "clock"},
        [
            "Is the museum in {x} open at {t} on {d}?",
            "On {d} at {t}, can I visit the museum in {x}?",
            "Will the {x} museum be open on {d} at {t}?",
        ],
        [
            ["Is the museum in {x} closed at {t} on {d}?", "Is the museum in {x} free at {t} on {d}?"],
            ["Is the library in {x} open at {t} on {d}?", "Is the museum in {x} open until {t} on {d}?"],
        ],
    ),
    Group(
        {"x": "country", "y": "document"},
        [
            "How do I get a {y} in {x}?",
            "What do I need to apply for a {y} in {x}?",
            "How can I obtain a {y} in {x}?",
            "Applying for a {y} in {x}",
        ],
        [
            ["How do I renew a {y} in {x}?", "How do I replace a lost {y} in {x}?"],
            ["Do I need a {y} in {x}?", "How much is a {y} in {x}?", "How long does it take to get a {y} in {x}?"],
            ["Where is my {y} from {x} not valid?", "Can I travel to {x} without a {y}?"],
        ],
    ),
    Group(
        {"x": "country", "y": "year"},
        [
            "What was the population of {x} in {y}?",
            "How many people lived in {x} in {y}?",
            "In {y}, how many inhabitants did {x} have?",
        ],
        [
            ["What was the area of {x} in {y}?", "What was the GDP of {x} in {y}?"],
            [
                "Who ruled {x} in {y}?",
                "What was the population of {x} before {y}?",
                "How did the population of {x} grow after {y}?",
            ],
        ],
    ),
    Group(
        {"x": "country"},
        [
            "What is the capital of {x}?",
            "Which city is the capital of {x}?",
            "What's {x}'s capital city?",
            "Name the capital of {x}",
        ],
        [
            [
                "What is the largest city of {x}?",
                "What is the currency of {x}?",
                "What is the official language of {x}?",
            ],
            [
                "What was the capital of {x} in the past?",
                "What is the smallest city of {x}?",
                "Who is the president of {x}?",
            ],
        ],
    ),
    Group(
        {"x": "person"},
        [
            "When was {x} born?",
            "What is {x}'s date of birth?",
            "What day was {x} born on?",
            "In what year was {x} born?",
        ],
        [
            ["When did {x} die?", "What is {x}'s date of death?"],
            ["Where was {x} born?", "What is {x}'s birthplace?"],
            ["When did {x} get married?", "How old was {x}?", "Who were {x}'s parents?", "Why is {x} famous?"],
        ],
    ),
    Group(
        {"x": "person", "y": "person"},
        ["Did {x} influence {y}?", "Was {y} influenced by {x}?", "Did {x} have an influence on {y}?"],
        [["Did {x} meet {y}?", "Did {x} influence everyone but {y}?", "How did {x} influence {y}?"]],
        turned=("x", "y"),
    ),
    Group(
        {"x": "person", "y": "person"},
        [
            "Who lived earlier, {x} or {y}?",
            "Which of the two was born first, {x} or {y}?",
            "Did {x} or {y} live first?",
        ],
        [["Who lived later, {x} or {y}?", "Did {x} ever meet {y}?", "Who lived longer, {x} or {y}?"]],
        free=("x", "y"),
    ),
    Group(
        {"c": "count", "x": "thing"},
        [
            "How do I order {c} of the same {x}?",
            "I'd like {c} pieces of one {x}, how do I order them?",
            "Can I buy {c} units of a {x} at once?",
        ],
        [
            ["Can I order at most {c} of the same {x}?", "How do I return {c} of the same {x}?"],
            ["Why did I get {c} of the same {x}?"],
        ],
    ),
    Group(
        {"c": "count", "x": "app"},
        [
            "Can I share my {x} subscription with {c} people?",
            "Is it possible for {c} people to use my {x} subscription?",
            "May {c} persons share one {x} subscription?",
        ],
        [
            [
                "Do I have to share my {x} subscription with {c} people?",
                "Can I share my {x} subscription with more than {c} people?",
            ]
        ],
    ),
    Group(
        {"p": "percent", "m": "money"},
        ["What is {p} of {m}?", "How much is {p} of {m}?", "Calculate {p} of {m}", "{m} times {p} is how much?"],
        [["What is {p} more than {m}?", "{m} is {p} of what?", "What is {m} minus {p}?"]],
    ),
    Group(
        {"w": "weight", "x": "city"},
        [
            "How much does it cost to ship {w} to {x}?",
            "What is the shipping price for {w} to {x}?",
            "Price of sending a parcel of {w} to {x}?",
        ],
        [
            ["How long does it take to ship {w} to {x}?", "Can I ship {w} to {x}?"],
            ["How much does it cost to ship {w} from {x}?", "How much does it cost to ship more than {w} to {x}?"],
        ],
    ),
    Group(
        {"s": "size", "x": "device"},
        ["Is {s} enough for my {x}?", "Will {s} do for my {x}?", "Do I get by with {s} on my {x}?"],
        [["Is {s} too much for my {x}?", "Is less than {s} enough for my {x}?", "How do I add {s} to my {x}?"]],
    ),
    Group(
        {"f": "file", "g": "file"},
        [
            "How do I convert a {f} to a {g}?",
            "How can I turn a {f} into a {g}?",
            "Change a {f} to a {g}",
            "What's the easiest way to make a {g} out of a {f}?",
        ],
        [["How do I merge a {f} and a {g}?", "Is a {f} smaller than a {g}?"]],
        turned=("f", "g"),
    ),
    Group(
        {"f": "file", "x": "app"},
        ["How do I open a {f} in {x}?", "Can {x} open a {f}, and how?", "I have a {f}, how do I view it in {x}?"],
        [
            [
                "How do I save a {f} in {x}?",
                "How do I delete a {f} in {x}?",
                "Why can't I open a {f} in {x}?",
                "How do I close a {f} in {x}?",
            ]
        ],
    ),
    Group(
        {"l": "language", "m": "language"},
        ["Translate this from {l} to {m}", "Please translate my {l} text into {m}", "I need this {l} text in {m}"],
        [["Is this text {l} or {m}?", "Don't translate this from {l} to {m}"]],
        turned=("l", "m"),
    ),
    Group(
        {"l": "language"},
        ["How hard is it to learn {l}?", "Is {l} difficult to learn?", "How difficult is learning {l}?"],
        [
            ["How long does it take to learn {l}?", "Why should I learn {l}?", "Where is {l} spoken?"],
            ["How easy is it to forget {l}?"],
        ],
    ),
    Group(
        {"s": "sport"},
        [
            "How many players are on a {s} team?",
            "How many people play on each side in {s}?",
            "What is the number of players in a {s} team?",
        ],
        [
            [
                "How long is a {s} match?",
                "Who invented {s}?",
                "How many fans does a {s} team have?",
                "How many referees are there in {s}?",
            ]
        ],
    ),
    Group(
        {"s": "sport", "y": "year"},
        [
            "Who won the {s} world championship in {y}?",
            "Which side became {s} world champion in {y}?",
            "Winner of the {y} {s} world championship?",
        ],
        [
            [
                "Who lost the {s} world championship final in {y}?",
                "Who hosted the {s} world championship in {y}?",
                "When was the {s} world championship in {y}?",
            ]
        ],
    ),
    Group(
        {"x": "subject"},
        [
            "Explain {x} in simple words",
            "Can you give me a simple explanation of {x}?",
            "What is {x}? Please keep it simple",
            "{x} explained for beginners",
        ],
        [
            ["Explain {x} in detail", "Give me an expert's explanation of {x}", "{x} explained for experts"],
            ["What are the causes of {x}?", "Who discovered {x}?", "What are the effects of {x}?"],
        ],
    ),
    Group(
        {"x": "subject", "c": "count"},
        ["Write {c} sentences about {x}", "Give me a text of {c} sentences on {x}", "I need {c} sentences about {x}"],
        [["Write {c} paragraphs about {x}", "Write {c} questions about {x}", "Write a poem about {x} in {c} lines"]],
    ),
    Group(
        {"b": "bank"},
        [
            "How do I open a {b}?",
            "What do I need to open a {b}?",
            "I'd like to open a {b}",
            "Opening a {b}: how does it work?",
        ],
        [
            ["How do I close a {b}?", "I want to close my {b}"],
            ["What fees does a {b} have?", "Can I open a {b} for my child?", "Who can't open a {b}?"],
        ],
    ),
    Group(
        {"m": "money", "x": "name", "y": "name"},
        ["How does {x} send {m} to {y}?", "How can {x} transfer {m} to {y}?", "What's the way for {x} to pay {y} {m}?"],
        [["How does {x} get {m} back from {y}?", "Why does {x} send {m} to {y}?"]],
        turned=("x", "y"),
    ),
    Group(
        {"d": "date", "x": "city"},
        ["What's the weather like in {x} on {d}?", "How is the weather on {d} in {x}?", "Weather in {x}, {d}"],
        [
            [
                "What events are there in {x} on {d}?",
                "What's the weather like in {x} after {d}?",
                "When does the sun rise in {x} on {d}?",
            ]
        ],
    ),
    Group(
        {"d": "date", "t": "clock"},
        [
            "Move my appointment to {d} at {t}",
            "Please reschedule my appointment for {t} on {d}",
            "Can I have my appointment on {d}, {t} instead?",
        ],
        [
            [
                "Cancel my appointment on {d} at {t}",
                "Do I have an appointment on {d} at {t}?",
                "Book another appointment on {d} at {t}",
            ]
        ],
    ),
    Group(
        {"d": "day", "x": "thing"},
        ["Will my {x} be delivered by {d}?", "Does my {x} arrive by {d}?", "Can you deliver my {x} no later than {d}?"],
        [["Will my {x} be delivered after {d}?", "Was my {x} delivered on {d}?", "Can I pick up my {x} on {d}?"]],
    ),
    Group(
        {"x": "food", "c": "count"},
        [
            "How do I cook {x} for {c} people?",
            "Recipe with {x} for {c} persons",
            "How can I prepare {x} for {c} guests?",
        ],
        [
            [
                "How do I store {x} for {c} days?",
                "How do I cook without {x} for {c} people?",
                "How much {x} do {c} people eat?",
            ]
        ],
    ),
    Group(
        {"x": "food", "d": "duration"},
        [
            "Can I eat {x} after {d} in the fridge?",
            "Is {x} still good when it was in the fridge for {d}?",
            "Are {x} that were {d} in the fridge still fine to eat?",
        ],
        [
            ["Can I freeze {x} for {d}?", "Can I eat {x} after {d} outside the fridge?"],
            ["Why do {x} go bad after {d}?"],
        ],
    ),
    Group(
        {"x": "device"},
        [
            "Why does my {x} not turn on?",
            "My {x} won't turn on, why?",
            "What could be the reason that my {x} doesn't start?",
            "{x} doesn't power on",
        ],
        [
            ["Why does my {x} not turn off?", "My {x} won't switch off"],
            ["Why does my {x} turn on by itself?", "How do I turn on my {x}?", "When does my {x} turn on?"],
        ],
    ),
    Group(
        {"x": "device", "y": "device"},
        [
            "How do I connect my {x} to my {y}?",
            "How can I link a {x} with a {y}?",
            "What do I do to pair my {x} and my {y}?",
        ],
        [
            ["How do I disconnect my {x} from my {y}?", "How do I stop my {x} from connecting to my {y}?"],
            ["Why doesn't my {x} connect to my {y}?"],
        ],
        free=("x", "y"),
    ),
    Group(
        {"x": "app", "y": "device"},
        [
            "Does {x} work on a {y} without internet?",
            "Can I use {x} offline on my {y}?",
            "Is {x} usable on a {y} if there's no connection?",
        ],
        [
            [
                "Does {x} work on a {y} only with internet?",
                "Does {x} work on a {y}?",
                "Why does {x} need internet on a {y}?",
            ]
        ],
    ),
    Group(
        {"x": "app", "d": "duration"},
        [
            "Does {x} delete messages after {d}?",
            "Are messages in {x} removed after {d}?",
            "Do my {x} messages disappear after {d}?",
        ],
        [
            [
                "Does {x} keep messages for at least {d}?",
                "How do I delete {x} messages before {d}?",
                "Does {x} not delete messages after {d}?",
            ]
        ],
    ),
    Group(
        {"x": "adjective", "y": "city"},
        [
            "Which restaurants in {y} are {x}?",
            "What are {x} restaurants in {y}?",
            "I'm looking for restaurants in {y} that are {x}",
        ],
        [
            [
                "Which restaurants in {y} aren't {x}?",
                "Which restaurants outside {y} are {x}?",
                "Which hotels in {y} are {x}?",
            ],
            ["Which restaurant in {y} is the most {x}?"],
        ],
    ),
    Group(
        {"x": "job", "y": "country", "z": "year"},
        [
            "How much did a {x} earn in {y} in {z}?",
            "What was the salary of a {x} in {y} in {z}?",
            "In {z}, what did a {x} make in {y}?",
        ],
        [
            [
                "How many {x}s were there in {y} in {z}?",
                "How much does a {x} earn in {y} since {z}?",
                "What did a {x} do in {y} in {z}?",
            ]
        ],
    ),
]
