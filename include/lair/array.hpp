// Array: many numbers of one kind, in memory that the pool's workers see as well, so that a call carries none of them.
//
//   lair::Array<float> image = pool.array<float>({1080, 1920});              // the pool's memory: fill it in place
//   image(0, 0) = 1;  std::fill_n(image.data(), image.size(), 0.5f);
//   double mean = pool.call<double>("mean", image);                          // Python reads it where it is
//   pool.call("blur", lair::inout(image), 3);                                // Python may write to it
//   lair::Array<float> mask = pool.call<lair::Array<float>>("mask", image);  // and so may a result be one
//
// An Array is a handle: copies share the elements, which live until the last of them has gone and no worker has a view of
// them, also beyond the pool. An argument must live until its call has been made: until `call`, `start` or `future_call`
// returns, or the `co_await` has suspended.
//
// Elements are bool, integers of 8 to 64 bits, float, double and std::complex of these; nothing is converted. A result of
// another type is kInvalidArgument with delivery kExecuted. Arrays may be anywhere among a call's arguments, and results may
// be one, or hold some where `holds_arrays` says so. Streams' items, and what host functions take and give, hold none.
//
// Errors: `copy_of` and what takes shapes throw std::invalid_argument for a shape that does not fit, std::bad_alloc. Allocation
// in a pool: Pool::array. docs/arrays.md.
//
// Thread-safety: the handle as a value; the elements are the program's to guard, also from a command with a view of them.
#pragma once

#include <array>
#include <complex>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <lair/fields.hpp>
#include <lair/json.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

namespace lair {

// Elements along each dimension; none: a single element.
using Shape = std::vector<std::size_t>;
using Strides = std::vector<std::ptrdiff_t>;

enum class DType : std::uint8_t {
  kBool,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kUInt8,
  kUInt16,
  kUInt32,
  kUInt64,
  kFloat32,
  kFloat64,
  kComplex64,
  kComplex128,
};
std::size_t size_of(DType dtype) noexcept;             // bytes
std::string_view to_string(DType dtype) noexcept;      // "float32": as numpy says
std::string_view array_typestr(DType dtype) noexcept;  // "<f4": as numpy's array interface says
std::optional<DType> dtype_of_typestr(std::string_view text) noexcept;

namespace detail {

template <class T>
constexpr std::optional<DType> dtype_of() {
  if constexpr (std::is_same_v<T, bool>) return DType::kBool;
  if constexpr (std::is_same_v<T, float>) return DType::kFloat32;
  if constexpr (std::is_same_v<T, double>) return DType::kFloat64;
  if constexpr (std::is_same_v<T, std::complex<float>>) return DType::kComplex64;
  if constexpr (std::is_same_v<T, std::complex<double>>) return DType::kComplex128;
  if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool> && !std::is_same_v<T, char>) {
    constexpr DType kSigned[] = {DType::kInt8, DType::kInt16, DType::kInt32, DType::kInt64};
    constexpr DType kUnsigned[] = {DType::kUInt8, DType::kUInt16, DType::kUInt32, DType::kUInt64};
    constexpr int kPlace = sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3;
    return std::is_signed_v<T> ? kSigned[kPlace] : kUnsigned[kPlace];
  }
  return std::nullopt;
}

// Where elements are. Whoever has one keeps it there.
class ArrayMemory {
 public:
  virtual ~ArrayMemory();
  ArrayMemory(const ArrayMemory&) = delete;
  ArrayMemory& operator=(const ArrayMemory&) = delete;
  std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  std::uint64_t serial() const noexcept { return serial_; }  // in this program

  // By its serial; null: it has gone.
  static std::shared_ptr<ArrayMemory> find(std::uint64_t serial);
  // Has it found from now on.
  static void track(const std::shared_ptr<ArrayMemory>& memory);
  // The program's own, which no worker sees. Throws std::bad_alloc.
  static std::shared_ptr<ArrayMemory> own(std::size_t size);

 protected:
  ArrayMemory(std::byte* data, std::size_t size) noexcept;

 private:
  std::byte* const data_;
  const std::size_t size_;
  const std::uint64_t serial_;
};

struct ArrayData {
  std::shared_ptr<ArrayMemory> memory = {};
  std::size_t first = 0;  // bytes before the first element
  DType dtype = DType::kUInt8;
  Shape shape = {};
  Strides strides = {};  // bytes

  std::byte* data() const noexcept { return memory == nullptr ? nullptr : memory->data() + first; }
};
// Nothing, if they are more than can be counted in bytes.
std::optional<std::size_t> bytes_of(DType dtype, const Shape& shape) noexcept;
Strides contiguous_strides(DType dtype, const Shape& shape);
bool is_contiguous(const ArrayData& array) noexcept;
// Whether all elements are within its memory.
bool fits(const ArrayData& array) noexcept;
// Throws std::invalid_argument where the shape has not so many elements. An empty shape stands for one dimension.
Shape shape_for(Shape shape, std::size_t count);
std::size_t count_of(const Shape& shape) noexcept;
ArrayData copy_of(DType dtype, const void* elements, const Shape& shape);
// To where it is, in the order of its elements, from an array of the same shape and type.
void copy_elements(std::byte* to, const ArrayData& from);
[[noreturn]] void bad_view(const ArrayData& of, const Shape& shape);

// Within a Json, which does not keep its memory: of an array that is gone, `array_in` has no memory.
Json array_as_json(const ArrayData& array, bool inout);
struct ArrayInJson {
  ArrayData array;
  bool inout = false;
};
bool is_array(const Json& value) noexcept;
ArrayInJson array_in(const Json& value);
// Throws Json::type_error if it is none of that type, or is gone.
ArrayData array_from_json(const Json& value, DType dtype);

// What keeps the arrays of a result until they have been taken out of its Json.
struct TakenArrays {
  std::mutex mutex;
  std::vector<std::shared_ptr<ArrayMemory>> kept;
};

}  // namespace detail

template <class T>
concept ArrayElement = detail::dtype_of<T>()
.has_value();

template <ArrayElement T>
class Array {
 public:
  Array() : Array(detail::copy_of(kDType, nullptr, {0})) {}  // one dimension, no elements
  // In the program's own memory. A call copies it into the pool's, where an array of the pool's is already.
  static Array copy_of(std::span<const T> elements, Shape shape = {}) {
    return Array(
        detail::copy_of(kDType, elements.data(), detail::shape_for(std::move(shape), elements.size())));
  }
  explicit Array(detail::ArrayData data) : data_(std::move(data)) {}

  static constexpr DType kDType = *detail::dtype_of<T>();
  DType dtype() const noexcept { return kDType; }
  const Shape& shape() const noexcept { return data_.shape; }
  std::size_t ndim() const noexcept { return data_.shape.size(); }
  std::size_t size() const noexcept { return detail::count_of(data_.shape); }  // elements
  // In elements, from one to the next along each dimension.
  Strides strides() const {
    Strides strides = data_.strides;
    for (std::ptrdiff_t& each : strides) each /= static_cast<std::ptrdiff_t>(sizeof(T));
    return strides;
  }
  bool contiguous() const noexcept { return detail::is_contiguous(data_); }

  // The first element. Where the array is contiguous, the others follow in the order of C.
  T* data() const noexcept { return reinterpret_cast<T*>(data_.data()); }
  // All of them. Throws std::invalid_argument if the array is not contiguous.
  std::span<T> span() const {
    if (!contiguous()) detail::bad_view(data_, {size()});
    return {data(), size()};
  }
  // As many indices as there are dimensions, each below its size: unchecked, as those of a span.
  template <std::integral... Indices>
  T& operator()(Indices... indices) const noexcept {
    std::ptrdiff_t at = 0;
    std::size_t dimension = 0;
    ((at += static_cast<std::ptrdiff_t>(indices) * data_.strides[dimension++]), ...);
    return *reinterpret_cast<T*>(data_.data() + at);
  }

  // The same elements seen otherwise: `strides`, and `first` which is the new first one, in elements. Throws
  // std::invalid_argument if that leaves the memory.
  Array view(Shape shape, Strides strides, std::size_t first = 0) const {
    detail::ArrayData seen = data_;
    for (std::ptrdiff_t& each : strides) each *= static_cast<std::ptrdiff_t>(sizeof(T));
    seen.first += first * sizeof(T);
    seen.shape = std::move(shape);
    seen.strides = std::move(strides);
    if (!detail::fits(seen)) detail::bad_view(data_, seen.shape);
    return Array(std::move(seen));
  }
  // The dimensions in the opposite order.
  Array transposed() const {
    detail::ArrayData seen = data_;
    seen.shape.assign(data_.shape.rbegin(), data_.shape.rend());
    seen.strides.assign(data_.strides.rbegin(), data_.strides.rend());
    return Array(std::move(seen));
  }

  const detail::ArrayData& impl() const noexcept { return data_; }

 private:
  detail::ArrayData data_;
};

// An argument that the command may write to. The array must be of the pool that is called.
template <ArrayElement T>
struct Inout {
  Array<T> array;
};
template <ArrayElement T>
Inout<T> inout(Array<T> array) {
  return {std::move(array)};
}

namespace detail {
// A call's argument that is an array itself, where its caller has it.
struct ArrayArgument {
  std::size_t index = 0;  // its position
  const ArrayData* array = nullptr;
  bool inout = false;
};

template <class T>
inline constexpr bool kIsArray = false;
template <class T>
inline constexpr bool kIsArray<Array<T>> = true;
template <class T>
inline constexpr bool kIsArrayArgument = kIsArray<T>;
template <class T>
inline constexpr bool kIsArrayArgument<Inout<T>> = true;
template <class T>
ArrayArgument argument_of(std::size_t index, const Array<T>& array) {
  return {.index = index, .array = &array.impl()};
}
template <class T>
ArrayArgument argument_of(std::size_t index, const Inout<T>& argument) {
  return {.index = index, .array = &argument.array.impl(), .inout = true};
}
}  // namespace detail

template <ArrayElement T>
void to_json(Json& json, const Array<T>& array) {
  json = detail::array_as_json(array.impl(), false);
}
template <ArrayElement T>
void to_json(Json& json, const Inout<T>& argument) {
  json = detail::array_as_json(argument.array.impl(), true);
}
template <ArrayElement T>
void from_json(const Json& json, Array<T>& array) {
  array = Array<T>(detail::array_from_json(json, Array<T>::kDType));
}

// Whether a value of type T is an array, or holds some. Structs with LAIR_FIELDS (lair/fields.hpp) hold what their fields do; say so
// for other types of your own: template <> inline constexpr bool lair::holds_arrays<Segmentation> = true;
template <class T>
inline constexpr bool holds_arrays = false;
template <class T>
inline constexpr bool holds_arrays<Array<T>> = true;
template <class T>
inline constexpr bool holds_arrays<Inout<T>> = true;
template <class T>
inline constexpr bool holds_arrays<std::optional<T>> = holds_arrays<T>;
template <class T, class A>
inline constexpr bool holds_arrays<std::vector<T, A>> = holds_arrays<T>;
template <class T, std::size_t N>
inline constexpr bool holds_arrays<std::array<T, N>> = holds_arrays<T>;
template <class T, std::size_t N>
inline constexpr bool holds_arrays<std::span<T, N>> = holds_arrays<std::remove_cv_t<T>>;
template <class T, class... More>
inline constexpr bool holds_arrays<std::map<std::string, T, More...>> = holds_arrays<T>;
template <class T, class... More>
inline constexpr bool holds_arrays<std::unordered_map<std::string, T, More...>> = holds_arrays<T>;
template <class A, class B>
inline constexpr bool holds_arrays<std::pair<A, B>> = holds_arrays<A> || holds_arrays<B>;
template <class... T>
inline constexpr bool holds_arrays<std::tuple<T...>> = (holds_arrays<T> || ...);

namespace detail {
template <class Struct, class Value>
constexpr bool field_holds_arrays(const Field<Struct, Value>*) {
  return holds_arrays<Value>;
}
template <class... F>
constexpr bool fields_hold_arrays(const std::tuple<F...>*) {
  return (field_holds_arrays(static_cast<const F*>(nullptr)) || ...);
}
}  // namespace detail
template <detail::HasFields T>
inline constexpr bool holds_arrays<T> = detail::fields_hold_arrays(
    static_cast<const decltype(lair_fields(static_cast<const T*>(nullptr)))*>(nullptr));

namespace detail {
// A call's options, where its result is R.
template <class R, class Options>
Options options_for(Options options) {
  if constexpr (holds_arrays<R>) {
    if (options.taken_arrays == nullptr) options.taken_arrays = std::make_shared<TakenArrays>();
  }
  return options;
}
template <class R, class Options>
Options options_for_map(Options options) {
  if constexpr (holds_arrays<R>) options.call = options_for<R>(std::move(options.call));
  return options;
}
}  // namespace detail

}  // namespace lair
