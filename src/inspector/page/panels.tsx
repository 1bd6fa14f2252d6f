// The text panels for a moment: which side runs the guest, the guarantees, the failures and the undone effects.

import { byRootCause, describeFailure } from "../../protocol/failure.js";
import { type Moment, sides } from "../story/moment.js";
import { whoRuns } from "../story/who-runs.js";
import type { Story } from "./model.js";

/** `moment` is null while no story is selected. */
export function WhoRuns({ moment, name }: { readonly moment: Moment | null; readonly name: string }) {
  const known = moment && {
    source: moment.sides.source?.state ?? null,
    destination: moment.sides.destination?.state ?? null,
    guestWas: moment.guestWas,
  };
  const answer = known && whoRuns(known);
  return (
    <p
      class={`who-runs ${answer?.runs ?? "unknown"}`}
      role="status"
      aria-live="polite"
      data-testid="who-runs"
    >
      {answer === null ? "No migration is selected." : answer.says} <span class="remark">{name}</span>
    </p>
  );
}

const marks = { yes: "✓", no: "✗", open: "…" } as const;
const means = { yes: "holds", no: "is violated", open: "is open" } as const;

export function GuaranteePanel({
  story,
  moment,
  goTo,
}: {
  readonly story: Story;
  readonly moment: Moment;
  readonly goTo: (count: number) => void;
}) {
  return (
    <section class="panel" aria-label="guarantees">
      <header>
        <h2>Guarantees</h2>
      </header>
      <ul class="guarantees">
        {story.guarantees.verdicts(moment).map(({ name, asks, holds, says, at }) => (
          <li key={name} class={holds} data-guarantee={name}>
            <span aria-hidden="true">{marks[holds]}</span> <strong>{name}</strong>
            <span class="hidden">{means[holds]}: </span> {asks}
            {says !== "" && <span class="remark">{` (${says})`}</span>}
            {at !== null && (
              <button type="button" onClick={() => goTo(at + 1)}>
                show
              </button>
            )}
          </li>
        ))}
      </ul>
      <p class="remark">
        G4 (no acknowledged write is lost) and G6 (nothing is left behind) are not visible in a story: they
        are checked on real QEMU.
      </p>
    </section>
  );
}

export function FailurePanel({ moment }: { readonly moment: Moment }) {
  const failures = byRootCause(sides.flatMap((side) => moment.sides[side]?.failures ?? []));
  const unique = [...new Map(failures.map((failure) => [describeFailure(failure), failure])).values()];
  const undone = [...new Set(sides.flatMap((side) => moment.sides[side]?.undone ?? []))];
  return (
    <section class="panel" aria-label="failures">
      <header>
        <h2>Failures</h2>
      </header>
      {unique.length === 0 ? (
        <p class="remark">No failures.</p>
      ) : (
        <ol class="failures">
          {unique.map((failure) => (
            <li key={describeFailure(failure)}>
              <strong>{`${failure.step}, at the ${failure.side}`}</strong> {failure.message}
              {failure.qemu?.map((word) => (
                <code key={word}>{word}</code>
              ))}
            </li>
          ))}
        </ol>
      )}
      {undone.length > 0 && (
        <>
          <h3>Undone</h3>
          <ul class="undone">
            {undone.map((text) => (
              <li key={text}>{text}</li>
            ))}
          </ul>
        </>
      )}
    </section>
  );
}
