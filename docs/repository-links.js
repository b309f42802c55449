// Pages link to files of the repository outside docs/, which the site does not contain. Points such
// links at the repository if book.toml names it (git-repository-url), and removes them otherwise.
const repository = document.querySelector('a[title="Git repository"]');
for (const link of document.querySelectorAll('main a[href^="../"]')) {
  const file = link.getAttribute('href').slice(3).replace(/\.html(?=#|$)/, '.md');
  if (repository) {
    link.href = `${repository.href}/blob/main/${file}`;
  } else {
    link.replaceWith(...link.childNodes);
  }
}
