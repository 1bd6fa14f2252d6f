// One migration of the host world, as its two hosts see it: the steps of its client, the transfer between the two QEMUs,
// the source's question how it ended, and what each side records at its end. The two sides are the few states that the
// search of one migration has shown to be enough; what they do inside of these states is searched there, not here.

import type { Change, Read, Rule, WorldMove } from "../components.js";
import type { DomainStanding } from "./domain-species.js";
import { isUp, recordChanges } from "./host-moves.js";
import {
  decisionIn,
  destinationAs,
  type HostParts,
  led,
  type MigrationParts,
  machineOf,
  presence,
  qemu,
  source,
} from "./parts.js";
import { calm, fault, hostName, requested, type Surroundings } from "./surroundings.js";

interface Seen {
  readonly id: number;
  readonly own: MigrationParts;
  readonly before: MigrationParts | undefined;
  /** The source's host and the destination's. */
  readonly s: HostParts;
  readonly d: HostParts;
  readonly to: number;
  /** Their names. */
  readonly sName: string;
  readonly dName: string;
}

export function migrationRules(surroundings: Surroundings, id: number): Rule[] {
  const { parts, migrations } = surroundings;
  const migration = migrations[id];
  const own = parts.migrations[id];
  const s = migration && parts.hosts[migration.from];
  const d = migration && parts.hosts[migration.to];
  if (own === undefined || s === undefined || d === undefined) throw new RangeError(`no migration ${id}`);
  const names = { sName: hostName(migration?.from ?? 0), dName: hostName(migration?.to ?? 0) };
  const seen = { id, own, before: parts.migrations[id - 1], s, d, to: migration?.to ?? 0, ...names };
  return [
    begins(surroundings, seen),
    prepares(surroundings, seen),
    streams(seen),
    atSource(seen),
    atDestination(surroundings, seen),
    settles(surroundings, seen),
    confirms(surroundings, seen),
    endsAtSource(surroundings, seen),
  ];
}

/** The domain machine, when it has given the guest to this migration. */
function givenTo(
  read: Read,
  host: HostParts,
  state: "departing" | "arriving",
  id: number,
): DomainStanding | null {
  if (!isUp(read, host)) return null;
  const machine = machineOf(read, host);
  return machine.state === state && machine.migrationId === String(id) ? machine : null;
}

function begins({ species, rules }: Surroundings, { id, own, before, s, sName }: Seen): Rule {
  return {
    reads: [s.machine, own.led, s.qemu, ...(before === undefined ? [] : [before.led])],
    moves: (read) => {
      const isTurn = before === undefined || read(before.led) !== led.nothing;
      if (!isUp(read, s) || read(own.led) !== led.nothing || !isTurn) return [];
      const { is, mute } = read(s.qemu);
      if (is === "absent" || mute) return [];
      const machine = machineOf(read, s);
      const { to, refused } = species.send(machine, { type: "peer.beginRequested", migrationId: String(id) });
      if (refused || to === machine) return [];
      const isRecorded = rules.keeps.has(
        "the record that a guest departs is written before anything is sent",
      );
      return [
        requested(`migration ${id} begins at ${sName}`, [
          s.machine.becomes(to),
          own.led.becomes(led.begun),
          own.source.becomes(source("begun")),
          ...(isRecorded ? [s.presence.becomes(presence("out", id))] : []),
        ]),
      ];
    },
  };
}

/** Prepare is delivered, now or late, once or again. */
function prepares({ species, rules, migrations }: Surroundings, { id, own, d, dName }: Seen): Rule {
  return {
    reads: [d.machine, d.qemu, d.presence, own.destination, own.led, own.source],
    moves: (read) => {
      const there = read(own.destination);
      const to = read(own.led);
      if (to === led.nothing || there.unreadable || !isUp(read, d)) return [];
      const machine = machineOf(read, d);
      if (there.is === "none") {
        const step = species.send(machine, { type: "peer.prepareRequested", migrationId: String(id) });
        if (step.refused || step.to === machine) return [];
        return [
          calm(`Prepare ${id} reserves the guest at ${dName}`, [
            d.machine.becomes(step.to),
            own.destination.becomes(destinationAs(there, "reserving")),
          ]),
        ];
      }
      if (there.is !== "reserving" || givenTo(read, d, "arriving", id) === null) return [];
      const gone = species.send(machine, {
        type: "migration.ended",
        migrationId: String(id),
        found: { left: "nothing" },
      }).to;
      const { of, kept } = read(d.presence);
      const keepsAway =
        kept &&
        of !== null &&
        rules.keeps.has("what was away stays away while something is recorded over it");
      const away = keepsAway ? [d.away.becomes(migrations[of]?.to ?? -1)] : [];
      return [
        fault(`${dName}'s disk is full as it records migration ${id}`, [
          d.machine.becomes(gone),
          own.destination.becomes(destinationAs(there, "none")),
        ]),
        calm(
          `${dName} prepares migration ${id}`,
          [
            ...away,
            d.presence.becomes(presence("in", id)),
            d.qemu.becomes(qemu("incoming", id)),
            own.destination.becomes(destinationAs(there, "listening")),
            ...(to === led.begun && read(own.source).is === "begun" ? [own.led.becomes(led.prepared)] : []),
          ],
          read(d.qemu).is === "absent" ? undefined : "G1: two QEMUs of one guest on one host",
        ),
      ];
    },
  };
}

/** The memory goes from one QEMU to the other, whatever the daemons do meanwhile. */
function streams({ id, own, s, d }: Seen): Rule {
  return {
    reads: [own.source, s.qemu, d.qemu],
    moves: (read) => {
      const [from, into] = [read(s.qemu), read(d.qemu)];
      const isSent = read(own.source).is === "performing" && from.is === "running";
      if (!isSent || into.is !== "incoming" || into.of !== id) return [];
      return [
        calm(`the guest's memory has gone over by migration ${id}`, [
          s.qemu.becomes(qemu("sent", id, from.mute)),
          d.qemu.becomes(qemu("complete", id, into.mute)),
        ]),
      ];
    },
  };
}

function atSource({ id, own, s, sName }: Seen): Rule {
  return {
    reads: [s.machine, s.qemu, own.source, own.led, own.fate],
    moves: (read) => {
      if (givenTo(read, s, "departing", id) === null) return [];
      const { is, unreadable } = read(own.source);
      const { is: qemuIs, of, mute } = read(s.qemu);
      if (unreadable) return [];
      const isSent = qemuIs === "sent" && of === id;
      const fate = read(own.fate);
      const becomes = (next: Parameters<typeof source>[0]) => own.source.becomes(source(next));
      const isBefore = is === "begun" || is === "performing";
      if (qemuIs === "absent" && (isBefore || is === "resuming"))
        return [calm(`${sName} has lost the guest of migration ${id}`, [becomes("lost")])];
      if (is === "performing" && isSent)
        return [
          calm(`${sName} has handed the guest over by migration ${id}`, [
            becomes("handedOver"),
            own.led.changes("performed", (to) => Math.max(to, led.performed)),
          ]),
        ];
      if (isBefore)
        return [
          ...(is === "begun" && read(own.led) >= led.prepared && qemuIs === "running"
            ? [calm(`Perform ${id} is delivered`, [becomes("performing")])]
            : []),
          ...(mute ? [] : [calm(`migration ${id} is given up at ${sName}`, [becomes("stayed")])]),
        ];
      if (is === "killing")
        return [
          calm(
            `${sName} ends its copy after migration ${id}`,
            [s.qemu.becomes(qemu("absent")), becomes("left")],
            fate === "open" && qemuIs !== "absent"
              ? "G3: a source's copy is ended before the destination has taken the guest"
              : undefined,
          ),
        ];
      if (is === "resuming" && !mute)
        return [
          calm(
            `${sName} resumes its guest after migration ${id}`,
            [s.qemu.becomes(qemu("running")), becomes("stayed")],
            fate === "ran"
              ? "G3: a guest that has run at the destination is resumed at the source"
              : undefined,
          ),
        ];
      return [];
    },
  };
}

function atDestination(surroundings: Surroundings, { id, own, d, dName }: Seen): Rule {
  const { species, rules } = surroundings;
  return {
    reads: [d.machine, d.qemu, own.destination, own.led],
    moves: (read) => {
      const machine = givenTo(read, d, "arriving", id);
      const there = read(own.destination);
      if (machine === null || there.unreadable) return [];
      const { is: qemuIs, of, mute } = read(d.qemu);
      const becomes = (next: typeof there.is) => own.destination.becomes(destinationAs(there, next));
      const ended = (left: "running" | "nothing") =>
        d.machine.becomes(
          species.send(machine, { type: "migration.ended", migrationId: String(id), found: { left } }).to,
        );
      const isWhole = qemuIs === "complete" && of === id;
      const ran = own.fate.becomes("ran");
      switch (there.is) {
        case "listening": {
          const moves = [calm(`migration ${id} is given up at ${dName}`, [becomes("refusing")])];
          if (!isWhole || mute || read(own.led) < led.performed) return moves;
          const isDurable = rules.keeps.has("taken is durable before the guest runs");
          moves.push(
            isDurable
              ? calm(`Finish ${id} is delivered`, [becomes("taking"), own.fate.becomes("taken")])
              : calm(`Finish ${id} is delivered and obeyed at once`, [d.qemu.becomes(qemu("running")), ran]),
            fault(`${dName}'s disk is full as it takes the guest`, [becomes("refusing")]),
          );
          return moves;
        }
        case "taking":
          if (qemuIs === "absent")
            return [calm(`${dName} has lost the guest that it took`, [becomes("lost"), ended("nothing")])];
          if (mute) return [];
          if (isWhole)
            return [
              calm(`${dName} runs the guest of migration ${id}`, [d.qemu.becomes(qemu("running")), ran]),
            ];
          return [
            calm(`migration ${id} has arrived at ${dName}`, [
              becomes("arrived"),
              own.led.changes("finished", () => led.finished),
            ]),
          ];
        case "arrived":
          return [
            calm(`${dName} enters the guest of migration ${id}`, [
              d.defined.becomes(true),
              d.away.becomes(null),
              ...recordChanges(surroundings, d),
              d.presence.becomes(presence("here")),
              ended("running"),
            ]),
          ];
        case "refusing":
          return [
            calm(`${dName} ends what came by migration ${id}`, [
              d.qemu.becomes(qemu("absent")),
              becomes("refused"),
              ended("nothing"),
            ]),
          ];
        case "refused":
          return [calm(`${dName} is done with migration ${id}`, [ended("nothing")])];
        default:
          return [];
      }
    },
  };
}

/** A source that has handed over asks the destination by id, and obeys a decision. */
function settles({ species, rules }: Surroundings, { id, own, s, d, sName, dName }: Seen): Rule {
  return {
    reads: [s.machine, own.source, d.machine, own.destination],
    moves: (read) => {
      const { is, unreadable } = read(own.source);
      if (is !== "handedOver" || unreadable || givenTo(read, s, "departing", id) === null) return [];
      if (!isUp(read, d)) return [];
      const there = read(own.destination);
      const machine = machineOf(read, d);
      const isComing =
        givenTo(read, d, "arriving", id) !== null && there.is !== "reserving" && there.is !== "none";
      const answer = rules.answerOfHost({
        isUnreadable: there.unreadable,
        decided: decisionIn(there),
        isOtherJournal: there.otherJournal,
        isComing,
        isQuarantined: machine.quarantined,
      });
      const obeys = (decision: "taken" | "refused", ...more: readonly Change[]): WorldMove[] => [
        calm(`${dName} answers ${sName}: migration ${id} ${decision}`, [
          own.source.becomes(source(decision === "taken" ? "killing" : "resuming")),
          ...more,
        ]),
      ];
      const isDurable = rules.keeps.has("the refusal is durable before it is said");
      const refuses = (next: "refusing" | "refused") =>
        obeys("refused", ...(isDurable ? [own.destination.becomes(destinationAs(there, next))] : []));
      switch (answer) {
        case "taken":
        case "refused":
          return obeys(answer);
        case "askMachine":
          return there.is === "listening" ? refuses("refusing") : obeys(decisionIn(there) ?? "refused");
        case "refuseForGood": {
          if (there.is !== "reserving") return refuses("refused");
          const { to } = species.send(machine, {
            type: "migration.ended",
            migrationId: String(id),
            found: { left: "nothing" },
          });
          return [
            ...refuses("refused").map((move) => ({
              ...move,
              changes: [...move.changes, d.machine.becomes(to)],
            })),
          ];
        }
        case "unknown":
          return rules.keeps.has("an unknown answer leaves the source paused") ? [] : obeys("refused");
      }
    },
  };
}

/** Confirm (not cancelled), with the receipt once Finish was answered, and without from any client at any time. */
function confirms({ rules, parts, migrations }: Surroundings, { id, own, s, sName }: Seen): Rule {
  const earlier = parts.migrations.filter((_, m) => m < id && migrations[m]?.from === migrations[id]?.from);
  return {
    reads: [s.machine, own.source, own.led, ...earlier.map((migration) => migration.led)],
    moves: (read) => {
      const { is, unreadable } = read(own.source);
      if (is !== "handedOver" || unreadable || givenTo(read, s, "departing", id) === null) return [];
      const kills = own.source.becomes(source("killing"));
      const counts = (isProven: boolean) => rules.confirmCounts({ isProven, isAskable: true });
      const moves: WorldMove[] = [];
      if (read(own.led) === led.finished && counts(true))
        moves.push(calm(`Confirm ${id} is delivered with its receipt`, [kills]));
      if (counts(false)) moves.push(requested(`a stray Confirm without a receipt reaches ${sName}`, [kills]));
      const isMatched = rules.keeps.has("a message is matched by the migration's id");
      if (!isMatched && earlier.some((migration) => read(migration.led) !== led.nothing))
        moves.push(calm(`the Confirm of an earlier migration reaches ${sName} late`, [kills]));
      return moves;
    },
  };
}

/** What the source's host records when its side has ended. */
function endsAtSource(surroundings: Surroundings, { id, own, s, to, sName }: Seen): Rule {
  const { species, rules } = surroundings;
  return {
    reads: [s.machine, s.qemu, s.defined, own.source],
    moves: (read) => {
      const machine = givenTo(read, s, "departing", id);
      const { is, unreadable } = read(own.source);
      if (machine === null || unreadable) return [];
      const left = (found: "running" | "paused" | "nothing" | "away") =>
        s.machine.becomes(
          species.send(machine, { type: "migration.ended", migrationId: String(id), found: { left: found } })
            .to,
        );
      if (is === "lost") return [calm(`${sName} is done with migration ${id}`, [left("nothing")])];
      if (is === "stayed") {
        const { is: qemuIs } = read(s.qemu);
        const found = qemuIs === "absent" ? "nothing" : qemuIs === "running" ? "running" : "paused";
        return [
          calm(`${sName} keeps its guest after migration ${id}`, [
            ...(found === "nothing" ? [] : [s.presence.becomes(presence("here"))]),
            left(found),
          ]),
        ];
      }
      if (is !== "left") return [];
      if (!read(s.defined) || !rules.keeps.has("a guest that has left is recorded as away"))
        return [calm(`the guest has left ${sName} by migration ${id}`, [left("nothing")])];
      return [
        calm(`${sName} records that the guest left by migration ${id}`, [s.away.becomes(to), left("away")]),
        fault(`${sName}'s disk is full as it records that the guest left`, [
          s.presence.becomes(presence("out", id, true)),
          left("away"),
        ]),
      ];
    },
  };
}
