// Two hosts, a coordinator and the network between them, run by the real machines. One choice at a time: an effect
// ends well or badly, a message is delivered or lost, a QEMU moves or dies, a timer fires. The guarantees are checked
// after every choice; `settleDown` then plays without faults, and somebody has to run the guest.

import { coordinatorMachine } from "../../src/machines/coordinator.js";
import { destinationMachine } from "../../src/machines/destination.js";
import * as replies from "../../src/machines/replies.js";
import { sourceMachine } from "../../src/machines/source.js";
import { type Answer, done, failed, nothing, unknown } from "../../src/protocol/answer.js";
import { defaultLimits } from "../../src/protocol/convergence.js";
import { defaultDeadlines } from "../../src/protocol/deadlines.js";
import { Node, type PendingEffect } from "./node.js";
import { SimulatedDestination, SimulatedSource } from "./qemus.js";

export interface Choice {
  readonly name: string;
  /** Costs one of the world's faults. */
  readonly fault: boolean;
  /** A timer or a person: they wait for everything else when the world plays fair. */
  readonly rare?: true;
  run(): void;
}

const identity = { migrationId: "m-1", uuid: "u-1", name: "guest" };
const description = {
  uuid: "u-1",
  guestWas: "running" as const,
  qemuVersion: "7.2",
  memoryBytes: 1,
  capabilities: [],
};
const preparedAt = { uri: "unix:/nowhere", capabilities: [] };

export class World {
  readonly story: string[] = [];
  readonly qemuS = new SimulatedSource();
  readonly qemuD = new SimulatedDestination();
  readonly source: Node<replies.SourceSnapshot>;
  readonly coordinator: Node;
  destination: Node<replies.DestinationSnapshot> | null = null;
  faultsLeft: number;
  #aborts = 1;
  /** Neither QEMU was killed by a fault: then nobody has an excuse for losing the guest. */
  qemuDied = false;

  constructor(faults: number) {
    this.faultsLeft = faults;
    const tell = (line: string) => void this.story.push(line);
    const deadlines = defaultDeadlines;
    this.source = new Node("source", sourceMachine, { identity, limits: defaultLimits, deadlines }, tell);
    this.coordinator = new Node("coordinator", coordinatorMachine, { identity, deadlines }, tell);
  }

  choices(): Choice[] {
    const all = [
      ...this.#effectChoices(this.source),
      ...(this.destination === null ? [] : this.#effectChoices(this.destination)),
      ...this.#effectChoices(this.coordinator),
      ...this.#qemuChoices(),
      ...this.#factChoices(),
      ...this.#timerChoices(),
      ...this.#personChoices(),
    ];
    return this.faultsLeft > 0 ? all : all.filter((it) => !it.fault);
  }

  take(choice: Choice): void {
    this.story.push(`${choice.fault ? "FAULT " : ""}${choice.name}`);
    if (choice.fault) this.faultsLeft -= 1;
    choice.run();
    this.check();
  }

  /** Throws with the story when a guarantee is broken. */
  check(): void {
    if (this.runners > 1) this.#broken("G1: two copies run");
    if (this.qemuD.everRan && this.#sourceRuns)
      this.#broken("G3: the source runs a guest that has run at the destination");
    if (!this.qemuS.alive && !this.qemuDied && !this.#takenThere)
      this.#broken("G3: the source was killed before the destination took the guest");
  }

  /** No more faults, everything answers, timers fire last: all machines have to end, and one copy to run (G2, G5). */
  settleDown(): void {
    this.settleSides(this.coordinator);
  }

  /** The same without a coordinator, which has died. */
  settleSides(coordinator?: Node): void {
    this.faultsLeft = 0;
    this.#aborts = 0;
    for (let turn = 0; turn < 500; turn += 1) {
      const fair = this.choices();
      const choice = fair.find((it) => it.rare === undefined) ?? fair[0];
      if (choice === undefined) break;
      this.take(choice);
    }
    const open = [this.source, this.destination, coordinator].filter(
      (it) => it?.snapshot.status === "active",
    );
    if (open.length > 0)
      this.#broken(`G5: still waiting: ${open.map((it) => `${it?.name} ${it?.state}`).join(", ")}`);
    if (this.runners !== 1 && !this.qemuDied) this.#broken(`G2: ${this.runners} copies run in the end`);
    if (this.qemuD.alive && this.qemuD.cpu !== "running")
      this.#broken("G6: a paused copy is left at the destination");
    if (this.qemuS.alive && !this.#sourceRuns) this.#broken("G6: a paused copy is left at the source");
  }

  get runners(): number {
    return Number(this.#sourceRuns) + Number(this.qemuD.alive && this.qemuD.cpu === "running");
  }

  get #sourceRuns(): boolean {
    return this.qemuS.alive && this.qemuS.cpu === "running";
  }

  get #takenThere(): boolean {
    return this.qemuD.everRan || this.destination?.snapshot.hasTag("taken") === true;
  }

  #broken(what: string): never {
    throw new Error(`${what}\n${this.story.join("\n")}`);
  }

  #effectChoices(node: Node): Choice[] {
    return [...node.effects.values()].flatMap((effect) => {
      const name = `${node.name}.${effect.id}`;
      if (this.#isQuestion(effect.id)) return this.#questionChoices(node, effect, name);
      const answer = this.#whenDone(effect.id);
      const complete = (apply: boolean, output: () => Answer<unknown>) => () => {
        const value = apply ? this.#apply(effect.id) : undefined;
        node.complete(effect.id, value?.kind === "failed" ? value : output());
      };
      return [
        ...(answer === undefined
          ? []
          : [{ name: `${name} is done`, fault: false, run: complete(true, answer) }]),
        // What cannot fail without an effect of its own: a cancel, a rescue and a kill answer, or stay unknown.
        ...(["cancel", "rescue"].includes(effect.id)
          ? []
          : [{ name: `${name} fails`, fault: true, run: complete(false, () => failed("it failed")) }]),
        {
          name: `${name} is done, its answer lost`,
          fault: true,
          run: complete(true, () => unknown("no answer")),
        },
        {
          name: `${name} never happens, no answer`,
          fault: true,
          run: complete(false, () => unknown("no answer")),
        },
      ];
    });
  }

  /** What the effect answers when all is well; undefined while it cannot be done yet. */
  #whenDone(id: string): (() => Answer<unknown>) | undefined {
    const { qemuS } = this;
    switch (id) {
      case "describe":
        return () => (qemuS.alive ? done(description) : failed("QEMU is dead"));
      case "cancel":
      case "rescue":
        return () => (qemuS.ended === undefined ? unknown("still cancelling") : done(qemuS.ended));
      case "restore":
        return () => (qemuS.alive && qemuS.ended !== undefined ? nothing : unknown("not restored"));
      case "prepare":
        return () => (this.qemuD.alive ? done(preparedAt) : failed("QEMU did not come up"));
      default:
        return () => nothing;
    }
  }

  /** What the effect does to the guests, when it happens. A `failed` says that QEMU said no. */
  #apply(id: string): Answer<unknown> | undefined {
    const { qemuS, qemuD } = this;
    switch (id) {
      case "start":
        if (!qemuS.alive || qemuD.stream !== "listening" || !qemuD.alive) return failed("cannot connect");
        qemuS.migration = "active";
        qemuD.stream = "active";
        qemuD.facts.push({ type: "monitor.active" });
        return undefined;
      case "continue":
        if (qemuS.migration !== "preSwitchover") return failed("not in pre-switchover");
        qemuS.migration = "device";
        return undefined;
      case "cancel":
      case "rescue":
        if (qemuS.alive && qemuS.ended === undefined) qemuS.migration = "cancelling";
        if (id === "rescue" && qemuS.migration === "cancelling") qemuS.giveUp("cancelled");
        return undefined;
      case "restore":
        if (qemuS.alive && qemuS.ended !== undefined) qemuS.cpu = "running";
        return undefined;
      case "killSource":
        qemuS.die();
        return undefined;
      case "prepare":
        if (qemuD.stream === "none") Object.assign(qemuD, { alive: true, stream: "listening" });
        return undefined;
      case "resume":
        if (!qemuD.alive) return unknown("QEMU is dead");
        if (qemuD.stream !== "whole") this.#broken("G4: a guest is run that is not whole");
        qemuD.cpu = "running";
        qemuD.everRan = true;
        qemuD.facts.push({ type: "monitor.resumed" });
        return undefined;
      case "killDestination":
        qemuD.die();
        return undefined;
      default:
        return undefined;
    }
  }

  #isQuestion(id: string): boolean {
    return id.startsWith("ask") || id === "settle" || id === "yield";
  }

  #questionChoices(node: Node, effect: PendingEffect, name: string): Choice[] {
    const lost = {
      name: `${name}: no answer comes`,
      fault: true,
      run: () => node.complete(effect.id, unknown("no answer")),
    };
    const deliver = () => {
      this.#deliver(effect.id);
      effect.delivered = true;
    };
    if (!effect.delivered) return [{ name: `${name} arrives`, fault: false, run: deliver }, lost];
    const answer = this.#replyTo(effect.id);
    return [
      ...(answer === undefined
        ? []
        : [{ name: `${name} is answered`, fault: false, run: () => node.complete(effect.id, answer) }]),
      { name: `${name} arrives once more`, fault: true, run: deliver },
      lost,
    ];
  }

  #deliver(id: string): void {
    const asked: Record<string, [Node | null, string]> = {
      askPerform: [this.source, "coordinator.performAsked"],
      askAbort: [this.source, "person.aborted"],
      askConfirm: [this.source, "coordinator.confirmAsked"],
      askConfirmCancelled: [this.source, "coordinator.confirmCancelledAsked"],
      askFinish: [this.destination, "coordinator.finishAsked"],
      askFinishCancelled: [this.destination, "coordinator.finishCancelledAsked"],
      settle: [this.destination, "source.asked"],
      yield: [this.destination, "source.yielded"],
    };
    if (id === "askPrepare" && this.destination === null) {
      this.destination = new Node(
        "destination",
        destinationMachine,
        { identity, guest: description, deadlines: defaultDeadlines },
        (line) => void this.story.push(line),
      );
    }
    const [to, type] = asked[id] ?? [null, ""];
    const more = id === "askPerform" ? { prepared: preparedAt } : {};
    to?.send({ type, ...more } as { type: string });
  }

  #replyTo(id: string): Answer<unknown> | undefined {
    const source = this.source.snapshot;
    const destination = this.destination?.snapshot;
    switch (id) {
      case "askBegin":
        return replies.replyToBegin(source);
      case "askPerform":
        return replies.replyToPerform(source);
      case "askAbort":
        return replies.replyToAbort(source);
      case "askConfirm":
      case "askConfirmCancelled":
        return replies.replyToConfirm(source);
      case "askPrepare":
        return destination && replies.replyToPrepare(destination);
      case "askFinish":
      case "askFinishCancelled":
        return destination ? replies.replyToFinish(destination) : failed("there was no Prepare");
      default:
        return destination ? replies.replyToSettle(destination) : done("refused");
    }
  }

  #qemuChoices(): Choice[] {
    const { qemuS, qemuD } = this;
    const choices: Choice[] = [];
    const may = (name: string, fault: boolean, run: () => void) => choices.push({ name, fault, run });
    if (qemuS.alive) {
      const connected = qemuD.alive && qemuD.stream === "active";
      if (qemuS.migration === "active" && connected) {
        may("the source's QEMU pauses the guest and waits before the switchover", false, () => {
          qemuS.cpu = "stopped";
          qemuS.migration = "preSwitchover";
          qemuS.facts.push({ type: "monitor.stopped" }, { type: "monitor.preSwitchover" });
        });
      }
      if (qemuS.migration === "active" && connected) {
        may("the source's QEMU pauses the guest and switches over at once", false, () => {
          qemuS.cpu = "stopped";
          qemuS.migration = "device";
          qemuS.facts.push({ type: "monitor.stopped" });
        });
      }
      if (qemuS.migration === "device" && connected) {
        may("the destination's QEMU has the guest whole", false, () => {
          qemuD.stream = "whole";
          qemuD.facts.push({ type: "monitor.completed" });
        });
      }
      if (qemuS.migration === "device" && qemuD.stream === "whole") {
        may("the source's QEMU completes", false, () => {
          qemuS.migration = "completed";
          qemuS.facts.push({ type: "monitor.completed" });
        });
        may("the source's QEMU does not hear that the stream arrived, and fails", true, () =>
          qemuS.giveUp("failed"),
        );
      }
      if (qemuS.ended === undefined && !qemuD.alive)
        may("the source's QEMU sees the stream break", false, () => qemuS.giveUp("failed"));
      if (qemuS.ended === undefined && qemuS.cpu === "stopped") {
        may("the source's QEMU fails and leaves its guest stopped", true, () =>
          qemuS.giveUp("failed", { resumes: false }),
        );
      }
      if (qemuS.migration === "cancelling") {
        may("the source's QEMU has cancelled", false, () => qemuS.giveUp("cancelled"));
        if (qemuD.stream === "whole") {
          may("the source's QEMU completes in spite of the cancel", false, () => {
            qemuS.migration = "completed";
            qemuS.facts.push({ type: "monitor.completed" });
          });
        }
      }
      may("the source's QEMU dies", true, () => {
        this.qemuDied = true;
        qemuS.die();
      });
    }
    if (qemuD.alive) {
      const streamLost =
        qemuD.stream === "active" &&
        (!qemuS.alive || (qemuS.ended !== undefined && qemuS.ended !== "completed"));
      if (streamLost) may("the destination's QEMU sees the stream break and ends", false, () => qemuD.die());
      may("the destination's QEMU dies", true, () => {
        this.qemuDied = true;
        qemuD.die();
      });
    }
    return choices;
  }

  #factChoices(): Choice[] {
    const { source, destination, qemuS, qemuD } = this;
    const choices: Choice[] = [];
    const [factS] = qemuS.facts;
    const [factD] = qemuD.facts;
    if (factS !== undefined) {
      choices.push({
        name: `the source hears ${factS.type}`,
        fault: false,
        run: () => source.send(qemuS.facts.shift() ?? factS),
      });
    }
    if (factD !== undefined && destination !== null) {
      choices.push({
        name: `the destination hears ${factD.type}`,
        fault: false,
        run: () => destination.send(qemuD.facts.shift() ?? factD),
      });
    }
    return choices;
  }

  #timerChoices(): Choice[] {
    return [this.source, this.destination, this.coordinator].flatMap((node) =>
      [...(node?.timers.keys() ?? [])].map((id) => ({
        name: `${node?.name}: the timer ${id} fires`,
        fault: false,
        rare: true as const,
        run: () => node?.fire(id),
      })),
    );
  }

  #personChoices(): Choice[] {
    if (this.#aborts === 0) return [];
    const run = () => {
      this.#aborts -= 1;
      this.coordinator.send({ type: "person.aborted" });
    };
    return [{ name: "a person aborts", fault: false, rare: true, run }];
  }
}
