// The page: the list of migrations and stories on one side, the selected story on the other; always shows who runs its guest.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Summary } from "../server/hub.js";
import { Compare } from "./compare.js";
import { useStory } from "./hooks.js";
import type { Story } from "./model.js";
import { WhoRuns } from "./panels.js";
import { Scrubber } from "./scrubber.js";
import { Simulate } from "./simulate.js";
import { follow, followList, given, reasonOf, savePage, saveStory, storyFrom } from "./sources.js";
import { Watch } from "./watch.js";

const views = ["watch", "simulate", "compare"] as const;
type View = (typeof views)[number];
const themes = ["auto", "light", "dark"] as const;

function useSmall(): boolean {
  const query = matchMedia("(max-width: 900px)");
  const [isSmall, setSmall] = useState(query.matches);
  useEffect(() => {
    const changed = () => setSmall(query.matches);
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  }, []);
  return isSmall;
}

export function App() {
  const [view, setView] = useState<View>(location.hash === "#simulate" ? "simulate" : "watch");
  const [theme, setTheme] = useState<(typeof themes)[number]>("auto");
  const [stories, setStories] = useState<readonly Story[]>([]);
  const [summaries, setSummaries] = useState<readonly Summary[]>([]);
  const [chosen, setChosen] = useState<string | null>(null);
  const [isUp, setUp] = useState<boolean | null>(null);
  const [problem, setProblem] = useState("");
  const [back, setBack] = useState<number | null>(null);
  const watched = useRef(new Map<string, { readonly story: Story; stop(): void }>());
  const isSmall = useSmall();
  const story = stories.find((shown) => shown.id === chosen) ?? null;
  useStory(story);

  const add = (added: Story, isShown: boolean) => {
    setStories((all) => [...all.filter((other) => other.id !== added.id), added]);
    if (!isShown) return;
    setChosen(added.id);
    setBack(null);
  };
  const choose = (id: string) => {
    setChosen(id);
    setBack(null);
    setView("watch");
  };
  const open = (name: string, text: string, isShown: boolean) => {
    try {
      add(storyFrom(name, text), isShown);
      setProblem("");
    } catch (error) {
      setProblem(reasonOf(error));
    }
  };
  const watch = (summary: Summary) => {
    let there = watched.current.get(summary.migrationId);
    if (there === undefined) {
      there = follow(summary);
      watched.current.set(summary.migrationId, there);
    }
    add(there.story, true);
  };

  useEffect(() => {
    let stop = () => {};
    given().then(
      ({ live, stories: texts }) => {
        for (const [index, { name, text }] of texts.entries()) open(name, text, index === 0);
        if (!live) return;
        let isFirst = texts.length === 0;
        stop = followList((news) => {
          setSummaries(news);
          const [newest] = news.slice(-1);
          if (isFirst && newest !== undefined) {
            isFirst = false;
            watch(newest);
          }
        }, setUp);
      },
      (error: unknown) => setProblem(reasonOf(error)),
    );
    return () => stop();
  }, []);
  useEffect(() => {
    document.documentElement.dataset["theme"] = theme;
  }, [theme]);

  const count = story === null ? 0 : Math.min(back ?? story.length, story.length);
  const goTo = (wanted: number) => setBack(Math.max(0, Math.min(wanted, story?.length ?? 0)));
  return (
    <>
      <header class="top">
        <h1>switchover</h1>
        <nav aria-label="views">
          {views.map((name) => (
            <button
              key={name}
              type="button"
              aria-current={name === view ? "page" : undefined}
              onClick={() => setView(name)}
            >
              {name}
            </button>
          ))}
        </nav>
        {view !== "simulate" && (
          <WhoRuns moment={story?.timeline.at(count) ?? null} name={story?.name ?? ""} />
        )}
        <span class="remark" data-testid="connection">
          {isUp === null ? "" : isUp ? "live" : "connection lost; reconnecting"}
        </span>
        <button type="button" onClick={() => setTheme(themes[(themes.indexOf(theme) + 1) % 3] ?? "auto")}>
          {`theme: ${theme}`}
        </button>
      </header>
      {problem !== "" && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      {view === "simulate" ? (
        <main>
          <Simulate isSmall={isSmall} />
        </main>
      ) : (
        <div class="body">
          <Shelf
            stories={stories}
            summaries={summaries}
            chosen={chosen}
            choose={choose}
            watch={watch}
            open={open}
            story={story}
          />
          <main>
            {view === "compare" ? (
              <Compare stories={stories} />
            ) : story === null ? (
              <p class="remark">Select a migration, open a story, or simulate one in the “simulate” view.</p>
            ) : (
              <>
                {story.remarks.map((remark) => (
                  <p key={remark} class="remark">
                    {remark}
                  </p>
                ))}
                {story.forgotten > 0 && (
                  <p class="remark">{`${story.forgotten} older entries (monitor lines, progress, calls) have been dropped`}</p>
                )}
                <Scrubber
                  story={story}
                  count={count}
                  goTo={goTo}
                  isFollowing={back === null}
                  followOn={() => setBack(null)}
                />
                <Watch story={story} count={count} goTo={goTo} isSmall={isSmall} />
              </>
            )}
          </main>
        </div>
      )}
    </>
  );
}

function Shelf({
  stories,
  summaries,
  chosen,
  choose,
  watch,
  open,
  story,
}: {
  readonly stories: readonly Story[];
  readonly summaries: readonly Summary[];
  readonly chosen: string | null;
  readonly choose: (id: string) => void;
  readonly watch: (summary: Summary) => void;
  readonly open: (name: string, text: string, isShown: boolean) => void;
  readonly story: Story | null;
}) {
  const files = stories.filter((shown) => !shown.isLive);
  const opened = async (list: FileList | null) => {
    for (const file of list ?? []) open(file.name, await file.text(), true);
  };
  return (
    <aside aria-label="stories">
      {summaries.length > 0 && (
        <>
          <h2>Migrations</h2>
          <ul>
            {summaries.toReversed().map((summary) => (
              <li key={summary.migrationId}>
                <button
                  type="button"
                  aria-current={summary.migrationId === chosen ? "true" : undefined}
                  onClick={() => watch(summary)}
                >
                  <span>{`${summary.failed ? "✗" : summary.ended ? "✓" : "…"} ${summary.name || summary.migrationId}`}</span>
                  <span class="remark">{summary.says}</span>
                </button>
              </li>
            ))}
          </ul>
        </>
      )}
      {files.length > 0 && (
        <>
          <h2>Stories</h2>
          <ul>
            {files.map((file) => (
              <li key={file.id}>
                <button
                  type="button"
                  aria-current={file.id === chosen ? "true" : undefined}
                  onClick={() => choose(file.id)}
                >
                  <span>{file.name}</span>
                </button>
              </li>
            ))}
          </ul>
        </>
      )}
      <label class="file">
        open a journal, a story or a counterexample{" "}
        <input type="file" multiple onChange={(event) => void opened(event.currentTarget.files)} />
      </label>
      {story !== null && (
        <div class="choices">
          <button type="button" onClick={() => saveStory(story)}>
            save as a story file
          </button>
          <button type="button" onClick={() => savePage(story)}>
            save as a page
          </button>
        </div>
      )}
    </aside>
  );
}
