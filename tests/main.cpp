#define BOOST_TEST_MODULE vla
#include <boost/test/unit_test.hpp>
