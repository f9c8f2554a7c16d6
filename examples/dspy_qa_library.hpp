// The passages that the questions are about, and a search in them that is good enough: by words, rare ones counting more.
//
// Thread-safety: any thread, once it is made.
#pragma once

#include <lair/json.hpp>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

struct Passage {
  std::string title;
  std::string text;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Passage, title, text)

class Library {
 public:
  explicit Library(std::vector<Passage> passages) : passages_(std::move(passages)) {
    for (const Passage& each : passages_) {
      words_.push_back(words_of(each.title + ' ' + each.text));
      for (const std::string& word : words_.back()) ++passages_with_[word];
    }
  }

  std::size_t size() const { return passages_.size(); }

  // The passages that fit best, the best first, as "title: text".
  std::vector<std::string> search(const std::string& query, std::size_t most) const {
    std::vector<std::pair<double, std::size_t>> ranked;
    for (std::size_t i = 0; i < passages_.size(); ++i) {
      double weight = 0;
      for (const std::string& word : words_of(query)) {
        if (words_[i].contains(word)) weight -= std::log(1 + size() / passages_with_.at(word));
      }
      ranked.emplace_back(weight, i);
    }
    std::ranges::sort(ranked);
    std::vector<std::string> found;
    for (const auto& [weight, i] : ranked) {
      if (weight < 0 && found.size() < most) found.push_back(passages_[i].title + ": " + passages_[i].text);
    }
    return found;
  }

  std::string read(const std::string& title) const {
    for (const Passage& each : passages_) {
      if (each.title == title) return each.text;
    }
    return "There is no passage '" + title + "'.";
  }

  // Letters only, in lower case, without a plural's s.
  static std::set<std::string> words_of(const std::string& text) {
    std::set<std::string> found;
    std::string word;
    for (const char c : text + ' ') {
      if (std::isalpha(static_cast<unsigned char>(c)) != 0) {
        word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      } else if (!word.empty()) {
        if (word.size() > 3 && word.back() == 's') word.pop_back();
        found.insert(std::exchange(word, {}));
      }
    }
    return found;
  }

 private:
  std::vector<Passage> passages_;
  std::vector<std::set<std::string>> words_;
  std::map<std::string, std::size_t> passages_with_;
};
