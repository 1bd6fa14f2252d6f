// The request by which a host of the host world reclaims its away guest, and the records of both hosts about the answer.

import type { DomainEvent } from "../../machines/domain/context.js";
import type { Change, Rule, WorldMove } from "../components.js";
import { type Asking, type HostParts, isUp, machineOf } from "./parts.js";
import { disowned, isOpen, sidesOf } from "./stories.js";
import { calm, fault, hostAt, hostName, others, type Surroundings } from "./surroundings.js";

export function concessionRules(surroundings: Surroundings, host: number): Rule[] {
  const here = hostAt(surroundings, host);
  return [
    conceding(surroundings, host, here),
    reclaiming(surroundings, host, here),
    asking(surroundings, host, here),
  ];
}

/** A request applies only to the away record for which it was sent, not to a later one. */
export function recordChanges({ rules }: Surroundings, { asking: ask }: HostParts): Change[] {
  if (!rules.keeps.has("a concession applies only to the away record for which it was requested")) return [];
  return [ask.changes("outdated", (now) => outdated[now] ?? now)];
}

const outdated: Partial<Record<Asking, Asking>> = {
  asked: "late",
  granting: "lateGranting",
  granted: "nothing",
};

/** The away record becomes durable, then the requesting host receives the answer. */
function conceding(surroundings: Surroundings, host: number, here: HostParts): Rule {
  const { species, parts } = surroundings;
  const changed = recordChanges(surroundings, here);
  const askers = others(parts, host);
  const sides = sidesOf(surroundings, host);
  return {
    reads: [
      here.machine,
      here.waiting,
      ...sides.flatMap(({ parts: own }) => [own.source, own.destination]),
      ...askers.map((asker) => asker.asking),
    ],
    moves: (read) => {
      if (!isUp(read, here)) return [];
      const machine = machineOf(read, here);
      if (!machine.effects.has("recordAway")) return [];
      const isAsked = machine.state === "conceding";
      const asker = askers.find(
        (other) => isAsked && ["granting", "lateGranting"].includes(read(other.asking)),
      );
      const to = asker === undefined ? -1 : parts.hosts.indexOf(asker);
      const isAwaited = asker !== undefined && read(asker.asking) === "granting";
      const told = (answer: "granted" | "nothing"): Change[] =>
        asker === undefined ? [] : [asker.asking.becomes(isAwaited ? answer : "nothing")];
      const done = here.machine.becomes(species.complete(machine, "recordAway", true));
      const failed = here.machine.becomes(species.complete(machine, "recordAway", false));
      const written = here.away.becomes(to);
      // The story of a guest ends when the guest is given up.
      const endsStory = machine.state === "givingUp" && read(here.waiting) === "story";
      const ended = endsStory
        ? [
            ...sides.filter((side) => isOpen(side, read)).map((side) => disowned(side, read)),
            here.waiting.becomes("nothing"),
          ]
        : [];
      return [
        calm(`${hostName(host)} records that the guest is away`, [
          written,
          done,
          ...ended,
          ...changed,
          ...told("granted"),
        ]),
        fault(`${hostName(host)}'s disk is full as it concedes`, [failed, ...told("nothing")]),
        fault(`${hostName(host)}'s disk fails after it has written the concession`, [
          written,
          failed,
          ...changed,
          ...told("nothing"),
        ]),
      ];
    },
  };
}

/** This host owns the guest again: it removes the away record, then starts the guest. */
function reclaiming(surroundings: Surroundings, host: number, here: HostParts): Rule {
  const { species } = surroundings;
  return {
    reads: [here.machine, here.asking],
    moves: (read) => {
      if (!isUp(read, here)) return [];
      const machine = machineOf(read, here);
      const ask = read(here.asking);
      const moves: WorldMove[] = [];
      if (machine.effects.has("forgetAway"))
        moves.push(
          calm(`${hostName(host)} removes its away record`, [
            here.away.becomes(null),
            here.machine.becomes(species.complete(machine, "forgetAway", true)),
            ...recordChanges(surroundings, here),
          ]),
          fault(`${hostName(host)}'s disk is full as it removes its away record`, [
            here.machine.becomes(species.complete(machine, "forgetAway", false)),
          ]),
        );
      if (ask === "granted") {
        const { to } = species.send(machine, { type: "peer.conceded" });
        moves.push(
          calm(`${hostName(host)} receives the concession of the guest`, [
            here.machine.becomes(to),
            here.asking.becomes(to.state === "reclaiming" ? "reclaiming" : "nothing"),
          ]),
        );
      }
      if (ask === "reclaiming" && machine.state !== "reclaiming")
        moves.push(
          calm(`${hostName(host)} starts the conceded guest`, [
            here.machine.becomes(species.send(machine, start).to),
            here.asking.becomes("nothing"),
          ]),
        );
      return moves;
    },
  };
}

/** An operator starts the defined guest. */
export const start: DomainEvent = { type: "operator.startRequested", paused: false, xml: "" };

/** The request for an away guest reaches the other host, in time or late. */
function asking({ species, parts, rules }: Surroundings, host: number, here: HostParts): Rule {
  const asked = others(parts, host);
  return {
    reads: [here.asking, here.away, ...asked.flatMap(({ machine, defined }) => [machine, defined])],
    moves: (read) => {
      const ask = read(here.asking);
      if (ask !== "asked" && ask !== "late") return [];
      const moves = [
        calm(`${hostName(host)} stops waiting for the concession`, [
          here.asking.becomes(ask === "asked" ? "late" : "nothing"),
        ]),
      ];
      const at = read(here.away);
      const peer = at === null ? undefined : parts.hosts[at];
      if (at === null || peer === undefined || !isUp(read, peer)) return moves;
      const machine = machineOf(read, peer);
      const { to, refused } = species.send(machine, { type: "peer.concedeRequested" });
      const isKnown = read(peer.defined) || machine.state !== "inactive";
      if (refused || !isKnown || to === machine)
        moves.push(calm(`${hostName(at)} does not concede`, [here.asking.becomes("nothing")]));
      else {
        const isDurableFirst = rules.keeps.has("the concession is durable before it is reported");
        const granted = isDurableFirst ? "granting" : "granted";
        moves.push(
          calm(`${hostName(at)} is asked to concede`, [
            peer.machine.becomes(to),
            here.asking.becomes(ask === "asked" ? granted : "lateGranting"),
          ]),
        );
      }
      return moves;
    },
  };
}
