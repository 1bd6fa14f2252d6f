// Compares two runs side by side: the aligned states of each side, their differences and the time in each state.

import { diffArrays } from "diff";
import { useState } from "preact/hooks";
import type { Side } from "../../protocol/steps.js";
import { sides } from "../story/moment.js";
import { lasted, type Story } from "./model.js";

interface Stay {
  readonly state: string;
  readonly ms: number | null;
}

function staysOf(story: Story, side: Side): Stay[] {
  const states = story.timeline.entries.filter((entry) => entry.kind === "state" && entry.side === side);
  return states.map((state, index) => {
    const next = states[index + 1];
    return {
      state: state.kind === "state" ? state.state : "",
      ms: next === undefined ? null : next.atMs - state.atMs,
    };
  });
}

type Row = readonly [Stay | null, Stay | null];

function rowsOf(a: readonly Stay[], b: readonly Stay[]): Row[] {
  const changes = diffArrays(
    a.map((stay) => stay.state),
    b.map((stay) => stay.state),
  );
  const rows: Row[] = [];
  let [left, right] = [0, 0];
  for (const { added, removed, count = 0 } of changes)
    for (let row = 0; row < count; row += 1)
      if (added) rows.push([null, b[right++] ?? null]);
      else if (removed) rows.push([a[left++] ?? null, null]);
      else rows.push([a[left++] ?? null, b[right++] ?? null]);
  return rows;
}

export function Compare({ stories }: { readonly stories: readonly Story[] }) {
  const [first, setFirst] = useState(stories[0]?.id ?? "");
  const [second, setSecond] = useState(stories[1]?.id ?? stories[0]?.id ?? "");
  const [a, b] = [stories.find((story) => story.id === first), stories.find((story) => story.id === second)];
  const choice = (label: string, value: string, set: (id: string) => void) => (
    <label>
      {label}{" "}
      <select value={value} onChange={(event) => set(event.currentTarget.value)}>
        {stories.map((story) => (
          <option key={story.id} value={story.id}>
            {story.name}
          </option>
        ))}
      </select>
    </label>
  );
  if (stories.length < 2)
    return <p class="remark">Open a second story or watch a second migration to compare them here.</p>;
  return (
    <section class="panel compare" aria-label="comparison">
      <header>
        <h2>Two runs</h2>
        {choice("first", first, setFirst)}
        {choice("second", second, setSecond)}
      </header>
      {a && b && sides.map((side) => <Sides key={side} side={side} a={a} b={b} />)}
    </section>
  );
}

function Sides({ side, a, b }: { readonly side: Side; readonly a: Story; readonly b: Story }) {
  const rows = rowsOf(staysOf(a, side), staysOf(b, side));
  const differs = rows.filter(([left, right]) => left === null || right === null).length;
  const time = (story: Story, stay: Stay | null) =>
    stay === null ? "" : stay.ms === null ? "end" : lasted(stay.ms, story.isSimulated);
  return (
    <details open={differs > 0}>
      <summary>{`${side}: ${differs === 0 ? "the same states" : `${differs} different states`}`}</summary>
      <table>
        <thead>
          <tr>
            <th scope="col">state</th>
            <th scope="col">{a.name}</th>
            <th scope="col">{b.name}</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(([left, right], row) => (
            <tr key={row} class={left === null ? "added" : right === null ? "removed" : ""}>
              <th scope="row">{left?.state ?? right?.state}</th>
              <td>{left === null ? "—" : time(a, left)}</td>
              <td>{right === null ? "—" : time(b, right)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}
