// Within Airflow's page: follow its light or dark, and open its own pages in it and not in here. Without this all still works.
(() => {
  let outer = null;
  try {
    outer = parent !== window && parent.document.documentElement;
  } catch {
    return; // in a page of somebody else
  }
  if (!outer) return;
  const follow = () => {
    const dark = outer.classList.contains("dark");
    document.documentElement.style.colorScheme = dark || outer.classList.contains("light") ? (dark ? "dark" : "light") : "";
  };
  follow();
  new MutationObserver(follow).observe(outer, { attributes: true, attributeFilter: ["class"] });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-airflow]");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const own = parent.document.createElement("a");
    own.href = link.href;
    own.click();
  });
})();
