// Exhaustive search: every order of everything that can happen in the simulated world, up to a number of faults. It
// finds a state in which a guarantee does not hold, by the shortest story, or shows that there is none; and it shows
// that from every state, once faults end, a good end can be reached (G2, G5).

import { BrokenGuarantee, type Choice, World } from "./world.js";

export interface Found {
  readonly states: number;
  readonly transitions: number;
  /** States in which nothing more can happen. */
  readonly ends: number;
  /** False when `mostStates` was reached before the end; nothing is shown then about what is beyond. */
  readonly whole: boolean;
}

interface Reached {
  readonly id: number;
  readonly world: World;
}

const isCalm = (choice: Choice): boolean => !choice.fault && choice.rare !== "person";

/** @throws BrokenGuarantee with the shortest story. */
export function search({ faults, mostStates = Infinity }: { faults: number; mostStates?: number }): Found {
  const ids = new Map<string, number>();
  /** By state: where it was first reached from, and by which choice there. */
  const from: number[] = [-1];
  const by: number[] = [0];
  /** Pairs of state and successor, of the steps that need neither a fault nor a person. */
  const calm = new Pairs();
  const good: number[] = [];
  let transitions = 0;
  let cut = false;

  const meet = (key: string, before: number, pick: number): number => {
    const id = ids.size;
    ids.set(key, id);
    from.push(before);
    by.push(pick);
    return id;
  };
  const retell = (state: number, then: (world: World) => void): never => {
    const picks: number[] = [];
    for (let it = state; from[it] !== -1; it = from[it] ?? -1) picks.unshift(by[it] ?? 0);
    const world = new World(faults);
    for (const pick of picks) world.take(at(world.choices(), pick));
    then(world);
    throw new Error("the broken guarantee holds when its story is told again: the search has a fault");
  };

  const first = new World(faults);
  ids.set(first.key, 0);
  // A state is met first with the most faults left, and what can happen with fewer can happen with more: so it is
  // looked at once, and a story has as few faults as possible, then as few steps.
  let level: Reached[] = [{ id: 0, world: first }];
  while (level.length > 0 && ids.size < mostStates) {
    const later = new Map<string, { readonly from: number; readonly by: number; readonly world: World }>();
    for (let frontier = level; frontier.length > 0 && ids.size < mostStates; ) {
      const next: Reached[] = [];
      for (const { id, world } of frontier) {
        const choices = world.choices();
        if (!choices.some(isCalm)) {
          tryIt(
            () => world.checkEnd(),
            () => retell(id, (it) => it.checkEnd()),
          );
          good.push(id);
        }
        for (const [pick, choice] of choices.entries()) {
          const twin = world.clone();
          tryIt(
            () => twin.take(choice),
            () => retell(id, (it) => it.take(at(it.choices(), pick))),
          );
          transitions += 1;
          const { key } = twin;
          const known = ids.get(key);
          if (choice.fault) {
            if (known === undefined && !later.has(key)) later.set(key, { from: id, by: pick, world: twin });
            continue;
          }
          if (isCalm(choice)) calm.push(id, known ?? ids.size);
          if (known === undefined) next.push({ id: meet(key, id, pick), world: twin });
        }
      }
      frontier = next;
      cut ||= ids.size >= mostStates && next.length > 0;
    }
    level = [];
    for (const [key, it] of later) {
      if (!ids.has(key)) level.push({ id: meet(key, it.from, it.by), world: it.world });
    }
  }
  const whole = !cut && level.length === 0;
  if (whole) {
    const lost = unreached(ids.size, calm, good);
    if (lost !== undefined) retell(lost, (it) => it.broken("G2, G5: from here no good end can be reached"));
  }
  return { states: ids.size, transitions, ends: good.length, whole };
}

function tryIt(run: () => void, broken: () => never): void {
  try {
    run();
  } catch (error) {
    if (error instanceof BrokenGuarantee) broken();
    throw error;
  }
}

function at(choices: readonly Choice[], pick: number): Choice {
  const choice = choices[pick];
  if (choice === undefined) throw new Error(`there is no choice ${pick}: the story does not fit the world`);
  return choice;
}

/** Many pairs of numbers, in little memory. */
class Pairs {
  #numbers = new Uint32Array(2 ** 16);
  #length = 0;

  push(a: number, b: number): void {
    if (this.#length === this.#numbers.length) {
      const more = new Uint32Array(2 * this.#length);
      more.set(this.#numbers);
      this.#numbers = more;
    }
    this.#numbers[this.#length] = a;
    this.#numbers[this.#length + 1] = b;
    this.#length += 2;
  }

  get all(): Uint32Array {
    return this.#numbers.subarray(0, this.#length);
  }
}

/** A state from which none of `goals` can be reached; the first one found, which is the nearest to the start. */
function unreached(states: number, pairs: Pairs, goals: readonly number[]): number | undefined {
  const edges = pairs.all;
  const starts = new Uint32Array(states + 1);
  for (let i = 1; i < edges.length; i += 2) {
    const after = (edges[i] ?? 0) + 1;
    starts[after] = (starts[after] ?? 0) + 1;
  }
  for (let i = 0; i < states; i += 1) starts[i + 1] = (starts[i + 1] ?? 0) + (starts[i] ?? 0);
  const fill = starts.slice();
  const before = new Uint32Array(edges.length / 2);
  for (let i = 0; i < edges.length; i += 2) {
    const to = edges[i + 1] ?? 0;
    const slot = fill[to] ?? 0;
    fill[to] = slot + 1;
    before[slot] = edges[i] ?? 0;
  }
  const reached = new Uint8Array(states);
  const open = [...goals];
  for (const goal of goals) reached[goal] = 1;
  for (let state = open.pop(); state !== undefined; state = open.pop()) {
    for (let i = starts[state] ?? 0; i < (starts[state + 1] ?? 0); i += 1) {
      const it = before[i] ?? 0;
      if (reached[it] === 1) continue;
      reached[it] = 1;
      open.push(it);
    }
  }
  const lost = reached.indexOf(0);
  return lost === -1 ? undefined : lost;
}
