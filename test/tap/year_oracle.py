"""What the playbook sends to simulated customers, worked out from their facts and the documented rules alone, customer by customer.

stdin: {"config": {...}, "customers": [...], "facts": [...], "until": ...} as 095_year.pl writes it; stdout: a line for each decision, message
and enrolment. It shares no code with the extension, not even the arithmetic of time zones.
"""
import calendar
import datetime as dt
import json
import sys
import zoneinfo

UTC = dt.timezone.utc
HOUR = dt.timedelta(hours=1)
NEVER = dt.datetime.max.replace(tzinfo=UTC)


def instant(text):
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)


def at_wall(wall, zone):
    """A wall time that is skipped means as much later; of two the later."""
    return max(wall.replace(tzinfo=zone, fold=f).astimezone(UTC) for f in (0, 1))


def add(t, span, zone):
    """Months and days by the calendar of the zone, the rest by the clock."""
    if t == NEVER:
        return t
    months, days, seconds = span
    if months or days:
        wall = t.astimezone(zone).replace(tzinfo=None, fold=0)
        n = wall.year * 12 + wall.month - 1 + months
        year, month = divmod(n, 12)
        wall = wall.replace(year=year, month=month + 1, day=min(wall.day, calendar.monthrange(year, month + 1)[1]))
        t = at_wall(wall + dt.timedelta(days=days), zone)
    return t + dt.timedelta(seconds=seconds)


def days(n):
    return (0, n, 0)


def text_of(t):
    return t.strftime("%Y-%m-%d %H:%M:%S+00")


def part_of(salt, customer):
    h = 0xCBF29CE484222325
    for byte in salt.encode() + b"\x1f" + customer.encode():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    h = (h ^ h >> 27) * 0x94D049BB133111EB % 2**64
    return (h ^ h >> 31) % 10000


def is_open(window, weekday, minute):
    """window: from, until (minutes), weekdays (0 is Monday); one over midnight belongs to the day on which it begins."""
    begin, end, on = window
    if begin == end:
        return weekday in on
    if begin < end:
        return weekday in on and begin <= minute < end
    return weekday in on if minute >= begin else minute < end and (weekday - 1) % 7 in on


WEEK = list(range(7))


class Enrolment:
    def __init__(self, scenario, anchor, at):
        self.scenario, self.anchor, self.at = scenario, anchor, at
        self.position, self.due, self.status, self.reason = None, None, "active", None


class Customer:
    def __init__(self, config, row):
        self.config, self.id = config, row["id"]
        self.zone = zoneinfo.ZoneInfo(row["zone"])
        self.born = dt.date.fromisoformat(row["born"]) if row["born"] else None
        self.known = False
        self.consent, self.orders, self.refunds = {}, {}, {}
        self.touch = {"open": [], "click": [], "visit": []}
        self.carts, self.delivered, self.reviews, self.wishes = {}, {}, {}, {}
        self.suppressed = set()
        self.held, self.tier = set(), None
        self.enrolments, self.sent, self.woken_at = [], [], NEVER
        self.first_sent = None
        self.out = []

    # What is known of the customer at t.
    def numbers(self, t):
        at = sorted(o["at"] for o in self.orders.values())
        self.last_order = at[-1] if at else None
        self.order_count = len(at)
        self.revenue = sum(o["amount"] for o in self.orders.values()) - sum(self.refunds.values())
        reads = self.touch["open"] + self.touch["click"]
        self.last_read = max(reads) if reads else None
        life = at + reads + self.touch["visit"] + [c["at"] for c in self.carts.values()]
        life += [r["at"] for r in self.reviews.values()] + list(self.wishes.values())
        self.last_activity = max(life) if life else None
        # From when on silence counts: nobody can have passed over what was never sent.
        self.reached = self.last_read or self.first_sent
        self.silent_since = max([a for a in (self.last_activity, self.reached) if a], default=None)
        bought = {o["cart"] for o in self.orders.values()}
        open_carts = [(c["at"], k) for k, c in self.carts.items()
                      if c["value"] > 0 and k not in bought and (self.last_order is None or c["at"] > self.last_order)]
        self.cart_at, self.cart = max(open_carts) if open_carts else (None, None)

    def after(self, moment, span, t):
        """moment <= t - span"""
        return moment is not None and add(moment, span, self.zone) <= t

    def within(self, moment, span, t):
        return moment is not None and t < add(moment, span, self.zone)

    def segments(self, t):
        held = set()
        if self.within(self.last_order, days(90), t) and self.after(self.last_order, days(60), t):
            held.add("at_risk")
        if self.within(self.last_read, days(90), t):
            held.add("engaged")
        elif self.after(self.reached, days(90), t) and self.within(self.last_activity, days(90), t):
            held.add("engagement_dormant")
        elif self.reached and self.last_activity and self.after(self.silent_since, days(90), t) and self.within(self.silent_since, days(180), t):
            held.add("engagement_win_back")
        elif self.reached and self.after(self.silent_since, days(180), t):
            held.add("engagement_inactive")
        if self.after(self.cart_at, (0, 0, 3600), t) and self.within(self.cart_at, days(30), t):
            held.add("cart_abandoner")
            if self.consent.get("ads") == "granted" and "engaged" not in held and not self.within(self.last_order, days(14), t):
                held.add("remarketing_cart")
        return held

    def next_flip(self, t):
        spans = [(self.last_order, 14), (self.last_order, 60), (self.last_order, 90), (self.last_read, 90),
                 (self.last_activity, 90), (self.reached, 90), (self.silent_since, 90), (self.silent_since, 180), (self.cart_at, 30)]
        edges = [add(moment, days(n), self.zone) for moment, n in spans if moment]
        edges += [self.cart_at + HOUR] if self.cart_at else []
        return min((e for e in edges if e > t), default=NEVER)

    def holds(self, condition, t):
        if condition is None:
            return None
        if condition.startswith("NOT in_segment('"):
            return condition[len("NOT in_segment('"):-2] not in self.held
        return {"last_order_at > now() - interval '14 days'": lambda: self.within(self.last_order, days(14), t),
                "tier = 'vip'": lambda: self.tier == "vip"}[condition]()

    def tier_reached(self):
        reached = [t["name"] for t in self.config["tiers"] if self.revenue >= t["min_spend"]]
        return reached[-1] if reached else None

    def rank(self, tier):
        names = [t["name"] for t in self.config["tiers"]]
        return names.index(tier) if tier in names else -1

    # What time starts.
    def birthday(self, year):
        try:
            day = self.born.replace(year=year)
        except ValueError:
            day = dt.date(year, 2, 28)
        return at_wall(dt.datetime.combine(day, dt.time()), self.zone)

    def date_of(self, s):
        return at_wall(dt.datetime.fromisoformat(s["argument"]), self.zone)

    def idle_at(self, s):
        return add(self.cart_at, s["steps"][0]["delay"], self.zone) if self.cart else NEVER

    def next_start(self, t):
        starts = []
        for s in self.config["scenarios"]:
            if s["trigger"] == "cart_idle":
                starts.append(self.idle_at(s))
            elif s["trigger"] == "date":
                starts.append(self.date_of(s))
            elif s["trigger"] == "birthday" and self.born:
                year = t.astimezone(self.zone).year
                starts += [self.birthday(year), self.birthday(year + 1)]
        return min((at for at in starts if at > t), default=NEVER)

    # One look at the customer at t, with the facts that come in then.
    def look(self, t, facts):
        new, was, consented, tier = not self.known, self.held, dict(self.consent), self.tier
        orders_in = [f for f in facts if f["kind"] == "order"]
        for f in facts:
            self.take_in(f, t)
        self.known = True
        self.numbers(t)
        self.held = self.segments(t)
        self.tier = self.tier_reached()
        entered, left = (set(), set()) if new else (self.held - was, was - self.held)

        fresh = []
        for s in self.config["scenarios"]:
            for anchor, at in self.starts(s, t, facts, consented, tier, entered, left):
                if add(at, s["max_age"], self.zone) >= t:
                    self.admit(s, anchor, at, fresh)
        concerned = self.active() and (facts or self.woken_at <= t)
        older = self.active() if concerned else []
        if concerned or self.woken_at <= t:
            self.woken_at = NEVER
        self.pass_sent, messages = [], []
        # By priority, then who has been due for longer: a cap may leave room for one.
        turns = [(-e.scenario["priority"], e.at, e) for e in fresh] + [(-e.scenario["priority"], e.due, e) for e in older]
        for _, _, e in sorted(turns, key=lambda turn: (turn[:2], turn[2].scenario["name"], turn[2].anchor)):
            self.run(e, t, e in fresh, facts, orders_in, messages)
        self.enrolments += fresh
        self.woken_at = min([self.woken_at, self.next_start(t)] + [e.due for e in (self.active() if concerned else [f for f in fresh if f.status == "active"])])
        self.enqueue(messages, facts, t)

    def active(self):
        return [e for e in self.enrolments if e.status == "active"]

    def take_in(self, f, t):
        kind, p = f["kind"], f["properties"]
        if kind == "order":
            self.orders[p["order"]] = {"at": t, "amount": p["amount"], "cart": p.get("cart")}
        elif kind == "refund":
            self.refunds[p["refund"]] = p["amount"]
        elif kind == "consent":
            self.consent[p["channel"]] = p["status"]
        elif kind == "engagement" and p["type"] in self.touch:
            self.touch[p["type"]].append(t)
        elif kind == "cart":
            self.carts[p["cart"]] = {"at": t, "value": p["value"]}
        elif kind == "delivery":
            self.delivered[p["order"]] = max(t, self.delivered.get(p["order"], t))
        elif kind == "review":
            self.reviews[p["review"]] = {"at": t, "rating": p["rating"]}
        elif kind == "wishlist":
            self.wishes[p["product"]] = t
        elif kind == "unwish":
            self.wishes.pop(p["product"], None)

    def starts(self, s, t, facts, consented, tier, entered, left):
        kind, argument = s["trigger"], s["argument"]
        of = lambda k: [f["properties"] for f in facts if f["kind"] == k]
        if kind == "order_placed":
            return [(p["order"], t) for p in of("order")]
        if kind == "tier_reached":
            return [(self.tier, t)] if self.rank(self.tier) > self.rank(tier) else []
        if kind == "segment_entered":
            return [(text_of(t), t)] if argument in entered else []
        if kind == "segment_left":
            return [(text_of(t), t)] if argument in left else []
        if kind == "consent":
            news = consented.get(argument) != "granted" and self.consent.get(argument) == "granted"
            return [(text_of(t), t)] if news else []
        if kind == "review":
            return [(p["review"], t) for p in of("review") if p["rating"] <= int(argument)]
        if kind == "wishlist_added":
            return [(p["product"], t) for p in of("wishlist")]
        if kind == "cart_idle":
            return [(self.cart + "@" + text_of(self.cart_at), self.cart_at)] if self.idle_at(s) <= t else []
        if kind == "birthday":
            year = t.astimezone(self.zone).year
            return [(str(y), self.birthday(y)) for y in (year - 1, year) if self.born and self.birthday(y) <= t]
        if kind == "date":
            return [(argument, self.date_of(s))] if self.date_of(s) <= t else []
        raise ValueError(kind)

    def admit(self, s, anchor, at, fresh):
        before = [e for e in self.enrolments + fresh if e.scenario is s]
        if any(e.anchor == anchor for e in before) or (before and s["reentry"] == "once"):
            return
        if s["every"] and before and add(max(e.at for e in before), s["every"], self.zone) > at:
            return
        fresh.append(Enrolment(s, anchor, at))

    def gone(self, e, facts):
        kind = e.scenario["trigger"]
        if kind == "tier_reached" and self.rank(self.tier) < self.rank(e.anchor):
            return "exited"
        if kind == "cart_idle" and (not self.cart or self.cart + "@" + text_of(self.cart_at) != e.anchor):
            return "exited"
        if kind == "consent" and self.consent.get(e.scenario["argument"]) != "granted":
            return "no_consent"
        for f in facts:
            p = f["properties"]
            if kind == "review" and f["kind"] == "review" and p["review"] == e.anchor and p["rating"] > int(e.scenario["argument"]):
                return "exited"
            if kind == "wishlist_added" and f["kind"] == "order_item" and p["product"] == e.anchor:
                return "goal_met"
            if kind == "wishlist_added" and f["kind"] == "unwish" and p["product"] == e.anchor:
                return "exited"
        return None

    def run(self, e, t, is_fresh, facts, orders_in, messages):
        reason = "goal_met" if e.scenario["goal"] and orders_in else None if is_fresh else self.gone(e, facts)
        if reason is None and self.holds(e.scenario["exit_when"], t):
            reason = "exited"
        if reason:
            e.status, e.reason, e.due = "exited", reason, NEVER
            return
        steps = []
        for step in e.scenario["steps"]:
            if e.position is None or step["position"] > e.position:
                base = e.at if step["counts_from"] == "anchor" else self.delivered.get(e.anchor, NEVER)
                ends = add(base, step["not_after"], self.zone) if step["not_after"] else NEVER
                steps.append((step, add(base, step["delay"], self.zone), ends))
        overdue = 0
        while overdue < len(steps) and steps[overdue][1] <= t:
            overdue += 1
        valid = [i for i in range(overdue) if t < steps[i][2]]
        send, wait, ends = valid[-1] if valid else None, NEVER, None
        for i, (step, due, until) in enumerate(steps[:overdue]):
            if i != send:
                if send is not None and i > send:
                    break
                self.decide(e, step, t, "skipped", "superseded" if t < until else "window_passed")
                continue
            outcome, reason, later = self.gates(e, step, t)
            if later and later < until:
                wait = later
                break
            if later:
                reason = "window_passed" if reason == "quiet_hours" else reason
            self.decide(e, step, t, outcome if reason is None or outcome == "would_send" else "skipped", reason)
            if reason is None:
                ends = until
                messages.append((e, step, due))
                if step["class"] == "marketing":
                    self.pass_sent.append((t, step["channel"]))
        if overdue < len(steps):
            due = steps[overdue][1]
            due = add(e.at, days(90), self.zone) if due == NEVER else due
            wait = min(wait, due) if due > t else wait
        elif wait == NEVER and ends and ends > t:
            wait = ends
        elif not steps and e.due > t:
            wait = e.due
        e.due = wait
        if wait == NEVER:
            e.status = "completed"

    def decide(self, e, step, t, outcome, reason):
        e.position = step["position"]
        self.out.append(["decision", self.id, e.scenario["name"], e.anchor, str(step["position"]), outcome, reason or "", text_of(t)])

    def gates(self, e, step, t):
        """outcome, reason, and when to ask again"""
        channel, marketing = self.config["channels"][step["channel"]], step["class"] == "marketing"
        if marketing and channel["consent"] and self.consent.get(channel["consent"]) != "granted":
            return "skipped", "no_consent", None
        if self.holds(step["condition"], t) is False or (marketing and self.holds(e.scenario["exclusion"], t)):
            return "skipped", "excluded", None
        if marketing:
            if part_of(e.scenario["name"], self.id) < e.scenario["holdout"]:
                return "would_send", "holdout", None
            on_it = [at for at, name in self.sent + self.pass_sent if name == step["channel"]]
            frees = [on_it[-cap] + HOUR * hours for hours, cap in channel["caps"] if len(on_it) >= cap]
            if frees and max(frees) > t:
                return "skipped", "capped", max(frees)
        windows = [step["window"]]
        if marketing and channel["quiet"]:
            windows.append((channel["quiet"][1], channel["quiet"][0], WEEK))
        wall = t.astimezone(self.zone).replace(tzinfo=None, fold=0)
        for minutes in range(9 * 1440):
            later = wall.replace(second=0, microsecond=0) + dt.timedelta(minutes=minutes)
            if all(is_open(w, later.weekday(), later.hour * 60 + later.minute) for w in windows):
                return ("enqueued", None, None) if minutes == 0 else ("skipped", "quiet_hours", at_wall(later, self.zone))
        raise ValueError("never open")

    def enqueue(self, messages, facts, t):
        for f in facts:
            if f["kind"] == "engagement" and f["properties"]["type"] == "bounce":
                self.suppressed.add("hard_bounce")
        if any(f["kind"] == "consent" and f["properties"]["status"] == "granted" for f in facts):
            self.suppressed.discard("sunset")
        stopped = set(self.suppressed)
        for e, step, due in messages:
            status = "cancelled" if "hard_bounce" in stopped or (stopped and step["class"] == "marketing") else "sent"
            if status == "sent" and step["class"] == "marketing":
                self.sent.append((t, step["channel"]))
            if status == "sent" and step["channel"] == "suppress":
                self.suppressed.add("sunset")
            if status == "sent" and self.config["channels"][step["channel"]]["consent"] in ("email", "sms", "push"):
                self.first_sent = self.first_sent or t
                self.numbers(t)
            variants = step["variants"]
            place, end, variant = part_of(e.scenario["name"] + "/" + str(step["position"]), self.id) * sum(v["weight"] for v in variants), 0, ""
            for v in variants:
                end += v["weight"] * 10000
                if not variant and place < end:
                    variant = v["name"]
            self.out.append(["message", self.id, e.scenario["name"], e.anchor, str(step["position"]), variant, status, text_of(due), text_of(t)])

    def live(self, facts, until):
        t = facts[0]["at"]
        while True:
            due = min(self.next_flip(t), self.woken_at) if self.known else NEVER
            if facts and facts[0]["at"] <= due:
                # At the very instant time comes first, but for what it has made already.
                t = facts[0]["at"]
                if due == t:
                    self.look(t, [])
                self.look(t, [facts.pop(0)])
            elif due < until:
                t = due
                self.look(t, [])
            else:
                break
        for e in self.enrolments:
            self.out.append(["enrolment", self.id, e.scenario["name"], e.anchor, e.status, e.reason or ""])
        return self.out


def main():
    world = json.load(sys.stdin)
    config = world["config"]
    for f in world["facts"]:
        f["at"] = instant(f["at"])
    of = {}
    for f in world["facts"]:
        of.setdefault(f["customer"], []).append(f)
    for row in world["customers"]:
        for line in Customer(config, row).live(of[row["id"]], instant(world["until"])):
            print("|".join(line))


main()
