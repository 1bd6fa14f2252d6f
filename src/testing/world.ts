// Two hosts, a coordinator and the network between them, run by the real machines. One choice at a time: an effect
// ends well or badly, a message is delivered or lost, a QEMU moves or dies, a timer fires. The guarantees are checked
// after every choice; `settleDown` then plays without faults, and somebody has to run the guest.

import type { EventObject } from "xstate";
import { coordinatorMachine } from "../machines/coordinator.js";
import { destinationMachine } from "../machines/destination.js";
import * as replies from "../machines/replies.js";
import { sourceMachine } from "../machines/source.js";
import { type Answer, done, failed, nothing, unknown } from "../protocol/answer.js";
import { defaultLimits } from "../protocol/convergence.js";
import { defaultDeadlines } from "../protocol/deadlines.js";
import { defaultPolicy } from "../protocol/policy.js";
import { happenings } from "./happenings.js";
import { Node, Species, type Step } from "./node.js";
import { SimulatedDestination, SimulatedSource } from "./qemus.js";

export interface Choice {
  readonly name: string;
  /** Costs one of the world's faults. */
  readonly fault: boolean;
  /** They wait for everything else when the world plays fair; nothing may depend on a person. */
  readonly rare?: "timer" | "person";
  run(world: World): void;
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

/** The machines that live in the world. */
const deadlines = defaultDeadlines;
const sources = new Species("source", sourceMachine, {
  identity,
  limits: defaultLimits,
  deadlines,
  policy: defaultPolicy,
});
const coordinators = new Species("coordinator", coordinatorMachine, { identity, deadlines });
const destinations = new Species("destination", destinationMachine, {
  identity,
  guest: description,
  deadlines,
  fenced: false,
});

/** More copies of one question are never under way at once: a bound of the search. */
const mostCopies = 2;

export class World {
  /** Null in a world that is only looked at. */
  story: string[] | null = [];
  qemuS = new SimulatedSource();
  qemuD = new SimulatedDestination();
  source = new Node(sources);
  coordinator = new Node(coordinators);
  destination: Node | null = null;
  faultsLeft: number;
  aborts = 1;
  /** A QEMU was killed by a fault: an excuse for losing the guest. */
  qemuDied = false;
  /** The coordinator is gone for good. */
  coordinatorDied = false;
  /** Questions on their way, with the number of copies; a question may outlive the one who asked it. */
  readonly #underWay = new Map<string, number>();
  /** Questions that have arrived, and whose asker still waits. */
  readonly #arrived = new Set<string>();
  /** Answers on their way. They were true when they were said. */
  readonly #answers = new Map<string, Answer<unknown>>();

  constructor(faults: number) {
    this.faultsLeft = faults;
    for (const node of [this.source, this.coordinator])
      this.#follow({ began: [...node.effects], stopped: [] });
  }

  /** The same world at the same moment, without its story. */
  clone(): World {
    const twin = new World(this.faultsLeft);
    twin.story = null;
    twin.qemuS = this.qemuS.clone();
    twin.qemuD = this.qemuD.clone();
    twin.source = this.source.clone();
    twin.coordinator = this.coordinator.clone();
    twin.destination = this.destination?.clone() ?? null;
    twin.aborts = this.aborts;
    twin.qemuDied = this.qemuDied;
    twin.coordinatorDied = this.coordinatorDied;
    twin.#underWay.clear();
    for (const [question, copies] of this.#underWay) twin.#underWay.set(question, copies);
    for (const question of this.#arrived) twin.#arrived.add(question);
    for (const [question, answer] of this.#answers) twin.#answers.set(question, answer);
    return twin;
  }

  /** Equal keys: with as many faults left, the same can happen from here on. A few characters, one for each part. */
  get key(): string {
    const underWay = [...this.#underWay].map(([question, copies]) => `${question}${copies}`);
    const answers = [...this.#answers].map(([question, answer]) => `${question}=${shortly(answer)}`);
    const network = [...underWay, ...this.#arrived, ...answers];
    return String.fromCharCode(
      this.source.key,
      this.destination === null ? 0 : this.destination.key + 1,
      this.coordinator.key,
      short(this.qemuS.key),
      short(this.qemuD.key),
      short(network.length > 1 ? network.sort().join() : (network[0] ?? "")),
      Number(this.qemuDied) + 2 * this.aborts + 4 * Number(this.coordinatorDied),
    );
  }

  choices(): Choice[] {
    const all = [
      ...this.#effectChoices(this.source),
      ...(this.destination === null ? [] : this.#effectChoices(this.destination)),
      ...(this.coordinatorDied ? [] : this.#effectChoices(this.coordinator)),
      ...this.#networkChoices(),
      ...happenings(this),
    ];
    return this.faultsLeft > 0 ? all : all.filter((it) => !it.fault);
  }

  take(choice: Choice): void {
    this.story?.push(`${choice.fault ? "FAULT " : ""}${choice.name}`);
    if (choice.fault) this.faultsLeft -= 1;
    choice.run(this);
    this.#forgetTheDeaf();
    this.check();
  }

  /** What is on its way to a machine that has ended changes nothing any more. */
  #forgetTheDeaf(): void {
    const { source, destination } = this;
    if (hasEnded(source)) this.qemuS.facts = [];
    if (destination !== null && hasEnded(destination)) this.qemuD.facts = [];
    for (const question of this.#underWay.keys()) {
      const to = isForSource(question) ? source : destination;
      if (to !== null && hasEnded(to) && !this.#isAsked(question)) this.#underWay.delete(question);
    }
  }

  /** Throws with the story when a guarantee is broken. */
  check(): void {
    if (this.runners > 1) this.broken("G1: two copies run");
    if (this.qemuD.everRan && this.#sourceRuns)
      this.broken("G3: the source runs a guest that has run at the destination");
    if (!this.qemuS.alive && !this.qemuDied && !this.#takenThere)
      this.broken("G3: the source was killed before the destination took the guest");
  }

  /** No more faults, everything answers, timers fire last: all machines have to end, and one copy to run (G2, G5). */
  settleDown(): void {
    this.faultsLeft = 0;
    this.aborts = 0;
    for (let turn = 0; turn < 500; turn += 1) {
      const fair = this.choices();
      const choice = fair.find((it) => it.rare === undefined) ?? fair[0];
      if (choice === undefined) break;
      this.take(choice);
    }
    this.checkEnd();
  }

  /** Nothing more can happen: throws with the story when that is no good end. */
  checkEnd(): void {
    const open = [this.source, this.destination, this.coordinatorDied ? null : this.coordinator].filter(
      (it) => it?.snapshot.status === "active",
    );
    if (open.length > 0)
      this.broken(`G5: still waiting: ${open.map((it) => `${it?.name} ${it?.state}`).join(", ")}`);
    if (this.runners !== 1 && !this.qemuDied) this.broken(`G2: ${this.runners} copies run in the end`);
    if (this.qemuD.alive && this.qemuD.cpu !== "running")
      this.broken("G6: a paused copy is left at the destination");
    if (this.qemuS.alive && !this.#sourceRuns) this.broken("G6: a paused copy is left at the source");
    this.#checkWord();
  }

  /** What the coordinator says about the guest is true. */
  #checkWord(): void {
    const kind = this.coordinatorDied ? undefined : this.coordinator.snapshot.output?.kind;
    const runsThere = this.qemuD.alive && this.qemuD.cpu === "running";
    if ((kind === "stayed" || kind === "aborted") && runsThere)
      this.broken(`the coordinator says ${kind}, but the guest runs at the destination`);
    if (kind === "arrived" && !runsThere && !this.qemuDied)
      this.broken("the coordinator says arrived, but the guest does not run at the destination");
  }

  killCoordinator(): void {
    this.coordinatorDied = true;
    for (const question of this.coordinator.effects) this.#forget(question);
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

  broken(what: string): never {
    throw new BrokenGuarantee(what, this.story ?? []);
  }

  send(node: Node, event: EventObject): void {
    this.#step(node, event.type, () => node.send(event));
  }

  complete(node: Node, effect: string, output: unknown): void {
    this.#step(node, `${effect} has ended`, () => node.complete(effect, output));
  }

  fire(node: Node, timer: string): void {
    this.#step(node, "timer", () => node.fire(timer));
  }

  #step(node: Node, what: string, step: () => Step): void {
    const before = this.story && node.state;
    this.#follow(step());
    this.story?.push(`    ${node.name}: ${before} --${what}--> ${node.state}`);
  }

  /** A question that is asked sets out; one that nobody waits for any more gets no answer, but may still arrive. */
  #follow({ began, stopped }: Step): void {
    for (const effect of stopped) this.#forget(effect);
    for (const effect of began) {
      if (!isQuestion(effect)) continue;
      this.#forget(effect);
      this.#underWay.set(effect, Math.min(mostCopies, (this.#underWay.get(effect) ?? 0) + 1));
    }
  }

  #forget(question: string): void {
    this.#arrived.delete(question);
    this.#answers.delete(question);
  }

  #effectChoices(node: Node): Choice[] {
    return [...node.effects].flatMap((effect) => {
      const name = `${node.name}.${effect}`;
      if (isQuestion(effect)) return this.#answerChoices(node, effect, name);
      const answer = this.#whenDone(effect);
      const side = node.name;
      const complete =
        (apply: boolean, output: (no: Answer<unknown> | undefined) => Answer<unknown>) => (world: World) => {
          const no = apply ? world.#apply(effect) : undefined;
          world.complete(world.node(side), effect, output(no));
        };
      return [
        ...(answer === undefined
          ? []
          : [
              {
                name: `${name} is done`,
                fault: false,
                run: (world: World) =>
                  complete(true, (no) => no ?? (world.#whenDone(effect) ?? answer)())(world),
              },
            ]),
        // What cannot fail without an effect of its own: a cancel, a rescue and a kill answer, or stay unknown.
        ...(["cancel", "rescue"].includes(effect)
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

  node(name: string): Node {
    const node = [this.source, this.destination, this.coordinator].find((it) => it?.name === name);
    if (node === undefined || node === null) throw new Error(`there is no ${name}`);
    return node;
  }

  /** What the effect answers when all is well; undefined while it cannot be done yet. */
  #whenDone(id: string): (() => Answer<unknown>) | undefined {
    const { qemuS } = this;
    switch (id) {
      case "describe":
        return () =>
          qemuS.alive
            ? done({ guest: description, settings: { capabilities: {}, parameters: {} } })
            : unknown("QEMU is dead");
      case "cancel":
      case "rescue":
        return () => (qemuS.ended === undefined ? unknown("still cancelling") : done(qemuS.ended));
      case "restore":
        return () => (qemuS.alive && qemuS.ended !== undefined ? nothing : unknown("not restored"));
      case "prepare":
        return () => (this.qemuD.alive ? done(preparedAt) : failed("QEMU did not come up"));
      case "resume":
        // A dead QEMU gives no answer; its death is heard sooner than the sixth try.
        return this.qemuD.alive ? () => nothing : undefined;
      default:
        return () => nothing;
    }
  }

  /** What the effect does to the guests, when it happens; an answer when that could not be done. */
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
      case "take":
      case "resume":
        if (!qemuD.alive) return failed("QEMU is dead: `cont` was not sent");
        if (qemuD.stream !== "whole") this.broken("G4: a guest is run that is not whole");
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

  /** What the asker can get: an answer that was true when it was said, or nothing before its deadline. */
  #answerChoices(node: Node, question: string, name: string): Choice[] {
    const side = node.name;
    const choices: Choice[] = [];
    const said = this.#answers.get(question);
    if (said !== undefined) {
      choices.push({
        name: `${name}: the answer arrives`,
        fault: false,
        run: (world) => world.complete(world.node(side), question, said),
      });
    } else if (this.#arrived.has(question)) {
      const answer = this.#replyTo(question);
      if (answer !== undefined) {
        choices.push({
          name: `${name} is answered`,
          fault: false,
          run: (world) => {
            if (mayChange.has(question)) world.#answers.set(question, answer);
            else world.complete(world.node(side), question, answer);
          },
        });
      }
    }
    choices.push({
      name: `${name}: no answer comes in time`,
      fault: true,
      run: (world) => world.complete(world.node(side), question, unknown("no answer")),
    });
    return choices;
  }

  /** Questions arrive late, in any order, after their asker has given up, or twice. */
  #networkChoices(): Choice[] {
    return [...this.#underWay].flatMap(([question, copies]) => {
      const arrive = (left: number) => (world: World) => {
        if (left === 0) world.#underWay.delete(question);
        else world.#underWay.set(question, left);
        world.#deliver(question);
        if (world.#isAsked(question)) world.#arrived.add(question);
      };
      return [
        { name: `${question} arrives`, fault: false, run: arrive(copies - 1) },
        { name: `${question} arrives, and will once more`, fault: true, run: arrive(copies) },
      ];
    });
  }

  #isAsked(question: string): boolean {
    return this.source.has(question) || (!this.coordinatorDied && this.coordinator.has(question));
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
      this.destination = new Node(destinations);
      this.#follow({ began: [...this.destination.effects], stopped: [] });
    }
    const [to, type] = asked[id] ?? [null, ""];
    const more = id === "askPerform" ? { prepared: preparedAt } : {};
    if (to !== null) this.send(to, { type, ...more });
  }

  #replyTo(id: string): Answer<unknown> | undefined {
    const source = this.source.snapshot as replies.SourceSnapshot;
    const destination = this.destination?.snapshot as replies.DestinationSnapshot | undefined;
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
}

const isQuestion = (effect: string): boolean =>
  effect.startsWith("ask") || effect === "settle" || effect === "yield";

const isForSource = (question: string): boolean =>
  ["askBegin", "askPerform", "askAbort", "askConfirm", "askConfirmCancelled"].includes(question);

/**
 * Questions whose answer may be different a moment later, so that an old one can still be on its way. The others are
 * answered from states that are never left again, so that it makes no difference when the answer arrives.
 */
const mayChange: ReadonlySet<string> = new Set(["askPrepare", "askPerform", "askAbort"]);

const hasEnded = (node: Node): boolean => node.snapshot.status !== "active";

const shorts = new Map<string, number>();
/** A number for a text that is often the same. */
function short(text: string): number {
  let number = shorts.get(text);
  if (number === undefined) {
    number = shorts.size;
    shorts.set(text, number);
  }
  return number;
}

/** An answer as far as it decides what the asker does. */
function shortly(answer: Answer<unknown>): string {
  if (answer.kind !== "done") return answer.kind;
  const { value } = answer;
  if (typeof value !== "object" || value === null) return String(value);
  if ("accepted" in value) return String(value.accepted);
  return "outcome" in value ? String(value.outcome) : "described";
}

/** A guarantee does not hold; the message is the story that led here. */
export class BrokenGuarantee extends Error {
  override readonly name = "BrokenGuarantee";
  constructor(
    readonly what: string,
    readonly story: readonly string[],
  ) {
    super(`${what}\n${story.join("\n")}`);
  }
}
