// One story, seen from all sides: both machines and the coordinator, what they said, what happened, and how it stands.

import { useState } from "preact/hooks";
import type { Side } from "../../protocol/steps.js";
import { sides } from "../story/moment.js";
import { StateChart, Visits } from "./chart.js";
import { Graphs } from "./graphs.js";
import { Log } from "./log.js";
import type { Story } from "./model.js";
import { FailurePanel, GuaranteePanel } from "./panels.js";
import { Sequence } from "./sequence.js";

export function Watch({
  story,
  count,
  goTo,
  isSmall,
}: {
  readonly story: Story;
  readonly count: number;
  readonly goTo: (count: number) => void;
  readonly isSmall: boolean;
}) {
  const [isWhole, setWhole] = useState(false);
  const [isFitted, setFitted] = useState(false);
  const [side, setSide] = useState<Side>("source");
  const moment = story.timeline.at(count);
  const { atMs } = moment;
  const shown = isSmall ? [side] : sides;
  return (
    <>
      <section class="charts" aria-label="machines">
        <header>
          <h2>Machines</h2>
          {isSmall && (
            <div role="radiogroup" aria-label="side" class="choices">
              {sides.map((it) => (
                <label key={it}>
                  <input type="radio" name="side" checked={it === side} onChange={() => setSide(it)} /> {it}
                </label>
              ))}
            </div>
          )}
          <label>
            <input
              type="checkbox"
              checked={isWhole}
              onChange={(event) => setWhole(event.currentTarget.checked)}
            />{" "}
            inner states
          </label>
          <label>
            <input
              type="checkbox"
              checked={isFitted}
              onChange={(event) => setFitted(event.currentTarget.checked)}
            />{" "}
            all at once
          </label>
        </header>
        <div class="row">
          {shown.map((it) => {
            const now = moment.sides[it];
            const wish = { side: it, now, atMs, isSimulated: story.isSimulated };
            return (
              <article key={it} class={`side ${it}`} aria-label={it}>
                <h3>
                  {it}{" "}
                  <span class="now" data-testid={`state-${it}`}>
                    {now === null ? "not begun" : now.state || "begins"}
                  </span>
                </h3>
                <StateChart {...{ ...wish, isWhole, isFitted }} />
                <Visits {...wish} />
              </article>
            );
          })}
        </div>
      </section>
      <div class="columns">
        <section class="panel" aria-label="messages">
          <header>
            <h2>Messages</h2>
          </header>
          <Sequence {...{ story, count }} />
        </section>
        <Log {...{ story, count, goTo }} shows="log" />
        <GuaranteePanel {...{ story, moment, goTo }} />
        <FailurePanel moment={moment} />
        {!story.isSimulated && (
          <>
            <Graphs {...{ story, count }} />
            <Log {...{ story, count, goTo }} shows="monitor" />
          </>
        )}
      </div>
    </>
  );
}
