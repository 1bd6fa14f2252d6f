// The messages that a source receives after the handover: the answer of its destination, or a Confirm.

import type { Change, Rule, WorldMove } from "../components.js";
import { decisionIn, destinationAs, isUp, led, machineOf, source } from "./parts.js";
import { calm, givenTo, requested, type Seen, type Surroundings } from "./surroundings.js";

/** A source that has handed over queries the destination by id and follows a decision. */
export function settles({ species, rules }: Surroundings, { id, own, s, d, sName, dName }: Seen): Rule {
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
      const isDurable = rules.keeps.has("the refusal is durable before it is reported");
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

/** Confirm (not cancelled): with the receipt once Finish was answered; without it from any client at any time. */
export function confirms({ rules, parts, migrations }: Surroundings, { id, own, s, sName }: Seen): Rule {
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
