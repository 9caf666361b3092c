/** The path of a request's target, percent-encoding undone; a target that is no URL is taken as it stands. */
export function pathOf(target = "/"): string {
  const [path = "/"] = target.split(/[?#]/, 1);
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
