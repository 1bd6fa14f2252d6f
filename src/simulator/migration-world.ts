// One migration between two hosts as a world for the search: the components of its state, and its rules, which are the moves of
// transitions.ts together with their dependencies.

import {
  type AnyComponent,
  Component,
  type Change as ComponentChange,
  given,
  type Merge,
  merge,
  type Read,
  type Rule,
  type RuleSet,
  type ValueOf,
  type WorldMove,
} from "./components.js";
import type { MachineState } from "./machine-model.js";
import {
  answerKey,
  dropUndeliverable,
  follow,
  messageChanged,
  type Network,
  withoutEffect,
} from "./network.js";
import { PackedWorld } from "./packed-world.js";
import {
  onceDead,
  type SimulatedDestination,
  type SimulatedSource,
  withDestination,
  withSource,
} from "./qemus.js";
import { addressee, isOfSource, type Question } from "./question.js";
import type { Move } from "./rules.js";
import { moveKinds } from "./search-world.js";
import { brokenAt, brokenInTheEnd, type Change, type State } from "./state.js";
import type { Moves } from "./transitions.js";

const parts = () => ({
  source: new Component<MachineState>("source", 12),
  destination: new Component<MachineState | null>("destination", 11),
  coordinator: new Component<MachineState>("coordinator", 12),
  qemuS: new Component<SimulatedSource>("qemuS", 14),
  qemuD: new Component<SimulatedDestination>("qemuD", 12),
  fence: new Component<State["fence"]>("fence", 2),
  network: new Component<Network>("network", 18),
  abortsLeft: new Component<number>("abortsLeft", 2),
  qemuDied: new Component<boolean>("qemuDied", 1),
  coordinatorDied: new Component<boolean>("coordinatorDied", 1),
});
type Parts = ReturnType<typeof parts>;
type PartName = keyof Parts;

/** A state whose parts are read lazily: a rule cannot depend on a part that it has not named. */
class LazyState implements State {
  readonly #parts: Parts;
  readonly #read: Read;
  readonly #network: Network | undefined;

  /** With `network`, that network represents all networks in which the request has the same status. */
  constructor(of: Parts, read: Read, network?: Network) {
    this.#parts = of;
    this.#read = read;
    this.#network = network;
  }
  get source() {
    return this.#read(this.#parts.source);
  }
  get destination() {
    return this.#read(this.#parts.destination);
  }
  get coordinator() {
    return this.#read(this.#parts.coordinator);
  }
  get qemuS() {
    return this.#read(this.#parts.qemuS);
  }
  get qemuD() {
    return this.#read(this.#parts.qemuD);
  }
  get fence() {
    return this.#read(this.#parts.fence);
  }
  get network() {
    return this.#network ?? this.#read(this.#parts.network);
  }
  get abortsLeft() {
    return this.#read(this.#parts.abortsLeft);
  }
  get qemuDied() {
    return this.#read(this.#parts.qemuDied);
  }
  get coordinatorDied() {
    return this.#read(this.#parts.coordinatorDied);
  }
}

export class MigrationWorld {
  readonly world: PackedWorld;
  readonly #parts = parts();
  readonly #messageRules = new Map<string, Rule>();
  readonly #moves: Moves;

  /** States with the same future are merged unless `reduced` is false; the unreduced world exists for comparison. */
  constructor(moves: Moves, first: State, { reduced = true }: { readonly reduced?: boolean } = {}) {
    this.#moves = moves;
    this.world = new PackedWorld({
      components: Object.values(this.#parts),
      first: this.#valuesOf(first),
      rules: [...this.#rules(), this.#messages()],
      merges: [...this.#forgets(), ...(reduced ? this.#merges(first) : [])],
      always: {
        reads: this.#named(["source", "qemuS", "qemuD", "destination", "qemuDied"]),
        broken: (read) => brokenAt(this.#stateOf(read)),
      },
      inTheEnd: (read) => brokenInTheEnd(this.#stateOf(read)),
    });
  }

  /** Equal packed states have the same future. */
  pack(state: State): Int32Array {
    return this.world.pack(this.#valuesOf(state));
  }

  #stateOf = (read: Read, network?: Network): State => new LazyState(this.#parts, read, network);

  #named = (names: readonly PartName[]): AnyComponent[] => names.map((name) => this.#parts[name]);

  #valuesOf(state: State): ValueOf[] {
    const all = this.#parts;
    return [
      all.source.becomes(state.source),
      all.destination.becomes(state.destination),
      all.coordinator.becomes(state.coordinator),
      all.qemuS.becomes(state.qemuS),
      all.qemuD.becomes(state.qemuD),
      all.fence.becomes(state.fence),
      all.network.becomes(state.network),
      all.abortsLeft.becomes(state.abortsLeft),
      all.qemuDied.becomes(state.qemuDied),
      all.coordinatorDied.becomes(state.coordinatorDied),
    ];
  }

  #rule(
    reads: readonly PartName[],
    from: (state: State) => readonly Move[],
    { faultsOnly = false, network }: { readonly faultsOnly?: boolean; readonly network?: Network } = {},
  ): Rule {
    return {
      reads: this.#named(reads),
      faultsOnly,
      moves: (read) => from(this.#stateOf(read, network)).map((move) => this.#moveOf(move)),
    };
  }

  #rules(): Rule[] {
    const moves = this.#moves;
    const { outcomes, qemus, crashes, rules } = moves;
    const outside = ["qemuS", "qemuD", "fence"] as const;
    return [
      this.#rule([...outside, "source"], (state) => outcomes.from(state, state.source)),
      this.#rule([...outside, "destination"], (state) =>
        state.destination === null ? [] : outcomes.from(state, state.destination),
      ),
      this.#rule(["coordinator", "coordinatorDied"], (state) =>
        state.coordinatorDied ? [] : outcomes.from(state, state.coordinator),
      ),
      this.#rule(["qemuS", "qemuD"], (state) => qemus.own(state)),
      this.#rule(["qemuS", "source"], (state) => qemus.heardAtSource(state)),
      this.#rule(["qemuD", "destination"], (state) => qemus.heardAtDestination(state)),
      this.#rule(
        [...outside, "source", ...(rules.peerToPeer ? (["coordinator"] as const) : [])],
        (state) => crashes.atSource(state),
        { faultsOnly: true },
      ),
      this.#rule([...outside, "destination"], (state) => crashes.atDestination(state), { faultsOnly: true }),
      this.#rule(["coordinator", "coordinatorDied"], (state) => crashes.ofClient(state), {
        faultsOnly: true,
      }),
      this.#rule(["fence"], (state) => crashes.ofOffer(state), { faultsOnly: true }),
      this.#rule(["coordinator", "coordinatorDied", "abortsLeft"], (state) => moves.abort(state)),
      this.#rule(["source"], (state) => moves.askForPostcopy(state)),
    ];
  }

  /** Each request that is pending or in transit is a separate rule: it depends on the two sides between which it travels. */
  #messages(): RuleSet {
    const { network } = this.#parts;
    return {
      by: network,
      rules: (read) => {
        const now = read(network);
        return [
          ...[...now.waits.keys()].map((question) => this.#answerRule(question, now)),
          ...[...now.underWay.keys()].map((question) => this.#deliveryRule(question)),
        ];
      },
    };
  }

  #answerRule(question: Question, network: Network): Rule {
    const wait = network.waits.get(question);
    const key = `${question} ${typeof wait === "object" ? `=${answerKey(wait.answer)}` : wait}`;
    const asker = isOfSource(question) ? "source" : "coordinator";
    const { messages } = this.#moves;
    return this.#once(key, () =>
      this.#rule([asker, addressee(question)], (state) => messages.answersTo(question, state, state[asker]), {
        network,
      }),
    );
  }

  #deliveryRule(question: Question): Rule {
    const { messages } = this.#moves;
    return this.#once(question, () =>
      this.#rule([addressee(question)], (state) => messages.delivery(question, state)),
    );
  }

  #once(key: string, make: () => Rule): Rule {
    const rule = this.#messageRules.get(key) ?? make();
    this.#messageRules.set(key, rule);
    return rule;
  }

  #moveOf({ name, fault, rare, change, harm }: Move): WorldMove {
    const ordinary = rare === "operator" ? moveKinds.requested : moveKinds.calm;
    return { name, kind: fault ? moveKinds.fault : ordinary, harm, changes: this.#changesOf(change) };
  }

  #changesOf(change: Change): ComponentChange[] {
    const all = this.#parts;
    const changes: ComponentChange[] = [];
    const { qemuS, qemuD, fence, abortsLeft, qemuDied, coordinatorDied, message, steps = [] } = change;
    if (qemuS !== undefined) changes.push(all.qemuS.becomes(qemuS));
    if (qemuD !== undefined) changes.push(all.qemuD.becomes(qemuD));
    if (fence !== undefined) changes.push(all.fence.becomes(fence));
    if (abortsLeft !== undefined) changes.push(all.abortsLeft.becomes(abortsLeft));
    if (qemuDied !== undefined) changes.push(all.qemuDied.becomes(qemuDied));
    if (coordinatorDied !== undefined) changes.push(all.coordinatorDied.becomes(coordinatorDied));
    if (message !== undefined) {
      const key =
        "arrives" in message
          ? `${message.arrives} ${message.again}`
          : `${message.answered}=${answerKey(message.answer)}`;
      changes.push(all.network.changes(key, (network) => messageChanged(network, message)));
    }
    for (const step of steps) {
      const { to, asked, unasked } = step;
      changes.push(all[to.side].becomes(to));
      if (asked.length > 0 || unasked.length > 0)
        changes.push(all.network.changes(`-${unasked} +${asked}`, (network) => follow(network, step)));
    }
    return changes;
  }

  /** Drops the same messages as `changed` (state.ts): those in transit to a machine that has ended. */
  #forgets(): Merge[] {
    const { source, destination, qemuS, qemuD, network } = this.#parts;
    const sourceEnded = given(source, 2, ({ ended }) => Number(ended));
    const destinationEnded = given(destination, 2, (standing) => Number(standing?.ended === true));
    return [
      merge(qemuS, [sourceEnded], (simulated) => withSource(simulated, { facts: [] })),
      merge(qemuD, [destinationEnded], (simulated) => withDestination(simulated, { facts: [] })),
      merge(network, [sourceEnded, destinationEnded], (number, [atSource, atDestination]) =>
        dropUndeliverable(number, atSource === 1, atDestination === 1),
      ),
    ];
  }

  #merges(first: State): Merge[] {
    const { destination, coordinator, coordinatorDied, qemuS, qemuD, network, abortsLeft } = this.#parts;
    const died = given(coordinatorDied, 2, Number);
    const prepared = given(destination, 2, (standing) => Number(standing !== null));
    const nobodyLeads = [given(coordinator, 2, ({ ended }) => Number(ended)), died];
    return [
      // A source is started before it receives a request, and an existing destination is not prepared again.
      merge(network, [], (item) => withoutEffect(item, ["askBegin"])),
      merge(network, [prepared], (item) => withoutEffect(item, ["askPrepare"])),
      // A dead client has no further moves, in whatever state it died.
      merge(coordinator, [died], () => first.coordinator),
      // Without a coordinator there is no receiver for an abort.
      merge(abortsLeft, nobodyLeads, () => 0),
      merge(qemuS, [], onceDead.source),
      merge(qemuD, [], onceDead.destination),
    ];
  }
}
