// Moves back and forth in a story with the mouse, with keys, or automatically.

import { useEffect, useLayoutEffect, useState } from "preact/hooks";
import { type Story, timeOf } from "./model.js";

const playMs = 400;

/** Returns the position of the next state record or move in that direction. */
export function nextState(story: Story, count: number, step: 1 | -1): number {
  const { entries } = story.timeline;
  for (let at = count + (step === 1 ? 0 : -2); at >= 0 && at < entries.length; at += step)
    if (entries[at]?.kind === "state" || entries[at]?.kind === "move") return at + 1;
  return step === 1 ? entries.length : 0;
}

export function Scrubber({
  story,
  count,
  isFollowing,
  goTo,
  followOn,
}: {
  readonly story: Story;
  readonly count: number;
  readonly isFollowing: boolean;
  readonly goTo: (count: number) => void;
  readonly followOn: () => void;
}) {
  const [isPlaying, setPlaying] = useState(false);
  const { length } = story;
  useEffect(() => {
    if (!isPlaying) return undefined;
    if (count >= length) {
      setPlaying(false);
      return undefined;
    }
    const timer = setTimeout(() => goTo(nextState(story, count, 1)), playMs);
    return () => clearTimeout(timer);
  }, [isPlaying, count, length]);
  // Registered before paint, so that the keys work as soon as the story is visible.
  useLayoutEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      const { target, key, shiftKey, ctrlKey, metaKey, altKey } = event;
      const isTyping =
        target instanceof HTMLElement && target.closest("input:not([type=range]), select, textarea");
      if (isTyping || ctrlKey || metaKey || altKey) return;
      const isButton = target instanceof HTMLElement && target.closest("button, summary, a") !== null;
      const moves: Readonly<Record<string, () => void>> = {
        ArrowRight: () => goTo(shiftKey ? count + 1 : nextState(story, count, 1)),
        ArrowLeft: () => goTo(shiftKey ? count - 1 : nextState(story, count, -1)),
        Home: () => goTo(0),
        End: () => (story.isLive ? followOn() : goTo(length)),
        f: followOn,
        ...(!isButton && { " ": () => setPlaying((playing) => !playing) }),
      };
      const move = moves[key];
      if (move === undefined) return;
      event.preventDefault();
      move();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [story, count, length]);
  const { atMs } = story.timeline.at(count);
  const place = `entry ${count} of ${length}${count === 0 ? "" : `, ${timeOf(story, atMs)}`}`;
  const button = (label: string, sign: string, act: () => void, isOff = false) => (
    <button type="button" aria-label={label} title={label} onClick={act} disabled={isOff}>
      {sign}
    </button>
  );
  return (
    <div class="scrubber" role="toolbar" aria-label="time travel">
      {button("to the beginning (Home)", "|◀", () => goTo(0), count === 0)}
      {button("previous state (←)", "◀", () => goTo(nextState(story, count, -1)), count === 0)}
      {button(isPlaying ? "stop (space)" : "play (space)", isPlaying ? "stop" : "play", () =>
        setPlaying(!isPlaying),
      )}
      {button("next state (→)", "▶", () => goTo(nextState(story, count, 1)), count >= length)}
      {button("to the end (End)", "▶|", () => goTo(length), count >= length && !story.isLive)}
      <input
        type="range"
        aria-label="moment of the story"
        aria-valuetext={place}
        min={0}
        max={length}
        value={count}
        onInput={(event) => goTo(Number(event.currentTarget.value))}
      />
      <output data-testid="place">{place}</output>
      {story.isLive && (
        <button type="button" aria-pressed={isFollowing} onClick={followOn}>
          follow (f)
        </button>
      )}
    </div>
  );
}
