// Searches every order in which the requests of two orchestrators can reach three hosts, late, repeated or never, with journals
// that are compacted: no older request moves a guest after a newer one has, and no two requests do at once (G1).

import { expect, test } from "vitest";
import { admits, idWithToken, tokenIn } from "../../../src/protocol/fencing-token.js";

interface Request {
  readonly id: string;
  readonly from: number;
  readonly to: number;
}

interface State {
  /** The host that runs the guest. */
  readonly at: number;
  readonly moving: Request | null;
  /** For each host: the highest token that it has seen for the guest. */
  readonly highest: readonly (number | null)[];
  /** For each host: migrations that have begun there, as its journal knows. */
  readonly known: readonly (readonly string[])[];
  /** Requests in flight; a request stays there, so that it can arrive twice or late. */
  readonly sent: readonly Request[];
  /** The last request of each orchestrator; the second one has replaced the first one at some time. */
  readonly tokens: number;
  readonly begun: readonly number[];
}

const hosts = [0, 1, 2];
const maxTokens = 4;

/** The hosts' rule for tokens; production's rule, or a broken one. */
interface Rule {
  readonly admits: (highest: number | null, id: string) => boolean;
  readonly destinationLearns: boolean;
}

function* after(state: State, rule: Rule): Generator<State | string> {
  const { at, moving, highest, known, sent, tokens, begun } = state;
  // Either orchestrator requests a move from the host where it believes the guest to be.
  if (tokens < maxTokens)
    for (const from of hosts)
      for (const to of hosts)
        if (from !== to) {
          const id = idWithToken(tokens + 1, "0".repeat(18));
          yield { ...state, tokens: tokens + 1, sent: [...sent, { id, from, to }] };
        }
  for (const request of sent) {
    const { id, from, to } = request;
    // The request arrives, for the first time or again: joined when it is known, refused when the guest is not there or is moving.
    if (known[from]?.includes(id) || at !== from || moving !== null) continue;
    if (!rule.admits(highest[from] ?? null, id)) continue;
    // The destination is asked, and may refuse too.
    if (rule.destinationLearns && !rule.admits(highest[to] ?? null, id)) continue;
    const token = tokenIn(id) ?? 0;
    const newest = Math.max(0, ...begun);
    if (token < newest) yield `a move with token ${token} begins after one with ${newest}`;
    const learned = highest.map((value, host) =>
      host === from || (host === to && rule.destinationLearns) ? Math.max(value ?? 0, token) : value,
    );
    yield {
      ...state,
      moving: request,
      highest: learned,
      begun: [...begun, token],
      known: known.map((items, host) => (host === from ? [...items, id] : items)),
    };
  }
  if (moving !== null) {
    yield { ...state, moving: null, at: moving.to };
    yield { ...state, moving: null };
  }
  // A journal is compacted: only final decisions are kept.
  for (const host of hosts)
    if ((known[host]?.length ?? 0) > 0 && moving === null)
      yield { ...state, known: known.map((items, index) => (index === host ? [] : items)) };
}

function search(rule: Rule): { readonly states: number; readonly broken: string | null } {
  const first: State = {
    at: 0,
    moving: null,
    highest: [null, null, null],
    known: [[], [], []],
    sent: [],
    tokens: 0,
    begun: [],
  };
  // Only the newest of the begun migrations matters.
  const keyOf = (state: State) => JSON.stringify({ ...state, begun: Math.max(0, ...state.begun) });
  const seen = new Set([keyOf(first)]);
  const next = [first];
  for (let state = next.pop(); state !== undefined; state = next.pop())
    for (const to of after(state, rule)) {
      if (typeof to === "string") return { states: seen.size, broken: to };
      const key = keyOf(to);
      if (seen.has(key)) continue;
      seen.add(key);
      next.push(to);
    }
  return { states: seen.size, broken: null };
}

test("no older request moves a guest after a newer one, in any order", () => {
  const { states, broken } = search({ admits, destinationLearns: true });
  console.log(`two orchestrators, ${maxTokens} moves, three hosts: ${states} states`);
  expect(broken).toBeNull();
  expect(states).toBeGreaterThan(10_000);
});

test.each([
  ["hosts that admit every token", { admits: () => true, destinationLearns: true }],
  ["destinations that do not learn the token", { admits, destinationLearns: false }],
] as const)("%s are found out", (_, rule) => {
  expect(search(rule).broken).toContain("begins after one with");
});
