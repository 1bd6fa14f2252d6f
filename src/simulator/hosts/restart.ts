// The restart of a daemon of the host world as one move, with the same rules as src/daemon/migrations/registry.ts (`recover`) and
// src/daemon/domains/recovery.ts; and a QEMU that did not answer then and answers later.

import type { Found } from "../../machines/domain/context.js";
import type { Change, Read, Rule } from "../components.js";
import type { DomainMachineState } from "./domain-model.js";
import {
  decisionIn,
  destinationAs,
  type HostParts,
  isUp,
  machineOf,
  type Qemu,
  qemu,
  runs,
} from "./parts.js";
import {
  disowned,
  isOpen,
  isUnreadable,
  recordedIn,
  type Side,
  type Story,
  sidesOf,
  storiesOf,
} from "./stories.js";
import { calm, hostAt, hostName, type Surroundings } from "./surroundings.js";

export function restartRules(surroundings: Surroundings, host: number): Rule[] {
  const here = hostAt(surroundings, host);
  return [wakes(surroundings, host, here), answersAgain(surroundings, host, here)];
}

const unknown: Found = { left: "unknown", why: "" };

const unresolved: Found = { left: "unknown", why: "", elsewhere: true };

const nothing: Found = { left: "nothing" };

const foundOf = (now: Qemu): Found =>
  now.is === "absent" ? nothing : { left: runs(now) ? "running" : "paused" };

function wakes(surroundings: Surroundings, host: number, here: HostParts): Rule {
  const { incoming, outgoing } = storiesOf(surroundings, host);
  return {
    reads: [
      here.machine,
      here.qemu,
      here.presence,
      here.away,
      here.defined,
      ...outgoing.map((story) => story.parts.source),
      ...incoming.map((story) => story.parts.destination),
    ],
    moves: (read) =>
      read(here.machine) === null
        ? [
            calm(
              `the daemon of ${hostName(host)} starts`,
              woken(surroundings, here, { incoming, outgoing }, read),
            ),
          ]
        : [],
  };
}

function woken(
  { species, rules }: Surroundings,
  here: HostParts,
  { incoming, outgoing }: { incoming: readonly Story[]; outgoing: readonly Story[] },
  read: Read,
): Change[] {
  const now = read(here.qemu);
  const away = read(here.away);
  const { is, of, forgotten: isForgotten, begun: isBegun } = read(here.presence);
  const seesMute = now.mute && rules.keeps.has("a mute QEMU counts as alive");
  const changes: Change[] = [];
  let machine: DomainMachineState = species.begin({ restarted: true, away: away !== null });
  const rests = () => [...changes, here.machine.becomes(machine)];
  const quarantine = (waiting: "qemu" | "story" | "nothing") => {
    machine = species.send(machine, { type: "host.examined", found: unresolved }).to;
    changes.push(here.waiting.becomes(waiting));
    return rests();
  };
  const recovered = (id: number, direction: "in" | "out") => {
    machine = species.send(machine, { type: "migration.recovered", migrationId: String(id), direction }).to;
    return rests();
  };
  const recorded = recordedIn(read(here.presence));
  const stories: readonly Side[] = [
    ...incoming.map((side) => ({ ...side, direction: "in" as const })),
    ...outgoing.map((side) => ({ ...side, direction: "out" as const })),
  ];
  let isDoubted = stories.some((side) => isUnreadable(side, read));
  let mine: Side | undefined;
  for (const side of stories.filter((one) => isOpen(one, read)).toSorted((a, b) => b.id - a.id)) {
    const migrationId = String(side.id);
    if (rules.isGoneOnWith({ migrationId, recorded, isItsQemu: false, isDoubted })) mine = side;
    else changes.push(disowned(side, read));
    isDoubted = true;
  }
  if (mine?.direction === "in") {
    const there = read(mine.parts.destination);
    if (there.is === "listening") {
      if (rules.keeps.has("an undecided migration is refused at a restart"))
        changes.push(mine.parts.destination.becomes(destinationAs(there, "refusing")));
      return recovered(mine.id, "in");
    }
    return seesMute && there.is === "taking" ? quarantine("story") : recovered(mine.id, "in");
  }
  if (mine !== undefined) return seesMute ? quarantine("story") : recovered(mine.id, "out");

  const examined = (found: Found) => {
    machine = species.send(machine, { type: "host.examined", found }).to;
    return rests();
  };
  const attached = (): Found => {
    if (now.mute && !seesMute) return nothing;
    if (now.mute) changes.push(here.waiting.becomes("qemu"));
    return now.mute ? unknown : foundOf(now);
  };
  const way = is === "in" || is === "out" ? is : "none";
  const story = [...incoming, ...outgoing].find(({ id }) => id === of);
  const arrival = story && way === "in" ? read(story.parts.destination) : undefined;
  const departure = story && way === "out" ? read(story.parts.source) : undefined;
  const own = way === "in" ? arrival : departure;
  if (is === "none") {
    const damage =
      incoming.some(({ parts }) => read(parts.destination).unreadable) ||
      outgoing.some(({ parts }) => read(parts.source).unreadable);
    return damage ? quarantine("nothing") : examined(nothing);
  }
  const end = departure?.is;
  const does = rules.atRestart({
    way,
    isForgotten,
    isBegun,
    isUnreadable: way !== "none" && own?.unreadable === true,
    decided: way === "in" && arrival !== undefined ? decisionIn(arrival) : null,
    sourceEnd: way === "out" && (end === "left" || end === "stayed" || end === "lost") ? end : null,
  });
  switch (does) {
    case "attach":
      if (way === "in") changes.push(here.defined.becomes(true));
      return examined(attached());
    case "quarantine":
      return quarantine(
        now.mute && !rules.keeps.has("a mute QEMU that answers again releases only an ordinary guest")
          ? "qemu"
          : "nothing",
      );
    case "end":
      changes.push(here.qemu.becomes(qemu("absent")));
      return examined(nothing);
    case "endAway":
      changes.push(here.qemu.becomes(qemu("absent")));
      if (!read(here.defined)) return examined(nothing);
      if (away === null) changes.push(here.away.becomes(story?.to ?? -1));
      return examined({ left: "away" });
    case "takenIfRunning":
      if (now.mute || !runs(now) || story === undefined || arrival === undefined)
        return quarantine("nothing");
      changes.push(story.parts.destination.becomes(destinationAs(arrival, "arrived")));
      return examined(foundOf(now));
  }
}

/** A mute QEMU answers or is gone; the recovery that waited for it continues. */
function answersAgain(surroundings: Surroundings, host: number, here: HostParts): Rule {
  const { species } = surroundings;
  const sides = sidesOf(surroundings, host);
  return {
    reads: [
      here.machine,
      here.qemu,
      here.waiting,
      ...sides.flatMap(({ parts }) => [parts.source, parts.destination]),
    ],
    moves: (read) => {
      const now = read(here.qemu);
      if (now.mute)
        return [
          calm(`the QEMU of ${hostName(host)} answers again`, [here.qemu.becomes(qemu(now.is, now.of))]),
        ];
      const waiting = read(here.waiting);
      if (!isUp(read, here) || waiting === "nothing") return [];
      const machine = machineOf(read, here);
      const waitsNoMore = here.waiting.becomes("nothing");
      const isGivenUp = !machine.quarantined;
      if (waiting === "qemu") {
        if (isGivenUp) return [calm(`${hostName(host)} stops waiting for its QEMU`, [waitsNoMore])];
        const { to } = species.send(machine, { type: "host.examined", found: foundOf(now) });
        return [
          calm(`${hostName(host)} detects that its QEMU answers`, [here.machine.becomes(to), waitsNoMore]),
        ];
      }
      const story = sides.find((side) => isOpen(side, read));
      if (story === undefined)
        return [calm(`${hostName(host)} stops waiting for the QEMU of a story`, [waitsNoMore])];
      // Its QEMU is being killed, which can fail.
      if (isGivenUp) return [];
      const { to } = species.send(machine, {
        type: "migration.recovered",
        migrationId: String(story.id),
        direction: story.direction,
      });
      return [
        calm(`${hostName(host)} detects that its QEMU answers`, [here.machine.becomes(to), waitsNoMore]),
      ];
    },
  };
}
