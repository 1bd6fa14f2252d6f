// Preact hooks that several parts of the page share.

import { useEffect, useReducer, useRef, useState } from "preact/hooks";
import type { Story } from "./model.js";

/** Redraws the component when the story changes. */
export function useStory(story: Story | null): void {
  const [, again] = useReducer((count: number) => count + 1, 0);
  useEffect(() => story?.onChange(() => again(undefined as never)), [story]);
}

/** Returns the current size of an element. */
export function useSize<T extends Element>() {
  const ref = useRef<T>(null);
  const [size, setSize] = useState({ width: 0, height: 0 });
  useEffect(() => {
    const element = ref.current;
    if (element === null) return undefined;
    const observer = new ResizeObserver(([entry]) => {
      if (entry !== undefined) setSize({ width: entry.contentRect.width, height: entry.contentRect.height });
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return { ref, ...size };
}
