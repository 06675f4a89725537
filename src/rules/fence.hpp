// Included last by every file of src/rules/: the rules of the product are plain C++ and must stay so.
#ifdef POSTGRES_H
#error "src/rules/ must not see a PostgreSQL header: rules are values in, values out"
#endif
