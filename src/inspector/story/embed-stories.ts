// The page with stories within it: one file that a browser opens without a server.

const place = /(<script type="application\/json" id="stories">)[\s\S]*?(<\/script>)/;

/** `html` is the page; what was within it is replaced. */
export const withStories = (
  html: string,
  stories: readonly { readonly name: string; readonly text: string }[],
): string =>
  html.replace(
    place,
    (_, open: string, close: string) =>
      // Nothing in a story may end the script that it stands in.
      open + JSON.stringify(stories).replaceAll("<", "\\u003c") + close,
  );
